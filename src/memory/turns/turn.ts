import { WindowCounter } from '../../cache/parts.js';
import type { Allowance, TurnEdit, TurnView } from '../../cache/policy.js';
import type { Sequence } from '../../cache/sequence.js';
import type { Lanes } from '../lanes.js';
import { type Fed, receivedBy, together } from '../received.js';
import { Layout } from '../rows/layout.js';
import { type PastRows, RowBlock } from '../rows/row-block.js';
import { checkRows, invalidShape, type LayerRows } from '../shape.js';
import { Candidates, Scratch } from './candidates.js';
import type { KeySketcher } from './key-sketch.js';
import type { FindSimilar } from './most-similar.js';
import { questionOf } from './questions.js';
import { rebuild } from './rebuild.js';
import type { KeyRotation } from './rotation.js';

/**
 * Several new tokens of one sequence, read in parts: a prompt, or a later turn. What is held stays as it is until the turn is complete, and what is held and what is new
 * are then candidates together; a turn that fails is let go, and nothing has happened.
 *
 * The parts before the last are held whole, behind a copy of what was held, since later parts attend to them; the last is compressed from where it lies.
 */
export class Turn {
  /** New tokens read so far. */
  tokens = 0;
  readonly #observed: WindowCounter | undefined;
  /** New tokens, the last ones, whose attention has come in. */
  #counted = 0;
  /** [layers] what was held and the parts so far, in rows 0, 1, 2 ...; undefined until a part has to be kept for the next */
  #staged: RowBlock[] | undefined;
  /** Parts that are in `#staged`. */
  #stagedTokens = 0;
  /** [layers] of [lists] of [held + tokens] */
  #received: Float64Array[][] = [];
  #last: RowBlock[] = [];

  constructor(
    private readonly sequence: Sequence,
    /** What is held, with its blocks as they are now: while this sequence reads, others may have them made anew. */
    private readonly held: Pick<Lanes, 'blocks' | 'past' | 'settings'>,
    private readonly lane: number,
  ) {
    const { window } = held.settings.policy;
    this.#observed = window === undefined ? undefined : new WindowCounter(window);
  }

  /** What the next part attends to in a layer. */
  past(layer: number): PastRows {
    return this.#staged ? this.#staged[layer]!.lane(0) : this.held.past(layer, this.lane);
  }

  /** Rows fed as the past of a layer, empty ones included. */
  fed(layer: number): number {
    return this.past(layer).capacity;
  }

  /** Bytes of a layer that are kept of the parts so far. */
  bytes(layer: number): number {
    return this.#staged?.[layer]?.bytes ?? 0;
  }

  /** Allocates memory for `tokens` that are to be kept for later parts and come in so many; not anew for each. A single part that nothing was held before stays where it comes. */
  reserve(tokens: number, parts: number): void {
    if (parts === 0 || (parts === 1 && this.sequence.most === 0)) return;
    this.#stage();
    this.#staged!.forEach((block, layer) => {
      if (!block.layout.ends) block.reserve(this.sequence.held(layer) + tokens);
    });
  }

  /**
   * Takes in the next part.
   * @param layers [layers] rows of this sequence alone
   * @param queries how many of its last tokens attention is of, where it comes with attention
   * @param continues whether another part follows
   * @throws ElasticCacheError 'invalid-shape' when it does not fit, or is not what the policy needs; the turn is then as it was
   */
  add(layers: readonly LayerRows[], tokens: number, queries: number, continues: boolean): void {
    const { policy, shape } = this.held.settings;
    const observed = this.#observed;
    const needed =
      policy.attention !== 'never' &&
      !policy.reread &&
      (!observed || !continues || layers[0]?.attention !== undefined);
    checkRows(layers, tokens, { ...shape, batch: 1 }, needed ? (layer) => this.fed(layer) : undefined);
    observed?.check(this.tokens, tokens, needed ? queries : 0, !continues);
    if (!continues) this.#checkImage(this.sequence.seen + this.tokens + tokens);
    this.#receive(layers, tokens, needed);
    if (needed) {
      observed?.add(queries);
      this.#counted += queries;
    }
    this.tokens += tokens;
    if (continues) this.#keep(layers, tokens);
    else this.#last = this.#asGiven(layers, tokens);
  }

  /**
   * Takes in what the tokens of the turn attend to as they are read once more; their rows are let go.
   * @throws ElasticCacheError 'invalid-shape' when it does not fit
   */
  addAgain(layers: readonly LayerRows[], tokens: number): void {
    const { policy, shape } = this.held.settings;
    checkRows(layers, tokens, { ...shape, batch: 1 }, (layer) => this.fed(layer));
    layers.forEach(({ attention }, layer) => {
      receivedBy(attention!, this.#fed(layer, tokens)).forEach((received, list) => {
        const known = this.#received[layer]![list]!;
        this.#received[layer]![list] = together(known, received.slice(0, known.length), policy.peak === true);
      });
    });
    this.#counted = this.tokens;
  }

  #receive(layers: readonly LayerRows[], tokens: number, needed: boolean): void {
    const { policy, lists } = this.held.settings;
    layers.forEach(({ attention }, layer) => {
      const fed = this.#fed(layer, tokens);
      const part =
        needed && attention
          ? receivedBy(attention, fed)
          : Array.from({ length: lists }, (_, list) => new Float64Array(fed.held[list]! + tokens));
      this.#received[layer] = part.map((next, list) =>
        together(this.#received[layer]?.[list], next, policy.peak === true),
      );
    });
  }

  /** What the attention of the next part is of. */
  #fed(layer: number, tokens: number): Fed {
    const held = this.#read(layer);
    return { layout: this.past(layer).layout, lane: 0, held, tokens, lists: this.held.settings.lists };
  }

  /** [kvHeads] rows in use before the next part. */
  #read(layer: number): number[] {
    const { kvHeads } = this.held.settings.shape;
    return this.sequence.heldBy(layer, kvHeads).map((count) => count + this.tokens);
  }

  #checkImage(tokens: number): void {
    const known = this.sequence.imageKnown(tokens);
    if (!this.held.settings.policy.needsImage || known === tokens) return;
    throw invalidShape(
      `this policy treats text and image apart, and the kind of ${known} of ${tokens} tokens is known; give generate() input_ids with one id for each, or call noteImage() first.`,
    );
  }

  /**
   * Lets the policy choose, and makes what is held anew: [layers] blocks of one lane. The sequence holds them from then on.
   * @param goesOn whether more tokens of the same turn are read into what is made
   * @param rotations [layers] how keys are turned where the policy turns those that it merges
   * @param similar answers whose keys are alike, where it merges by that; a promise where it takes its time
   */
  complete(
    allowed: Allowance,
    goesOn: boolean,
    rotations: readonly KeyRotation[] | undefined,
    similar: FindSimilar,
  ): RowBlock[] | Promise<RowBlock[]> {
    const { sequence } = this;
    const { policy, windows, sketcher } = this.held.settings;
    if (policy.turnMergedKeys && !rotations) {
      throw invalidShape(
        'this policy turns keys to other positions: run the cache through generate(), or call noteRotation() first.',
      );
    }
    const scratch = new Scratch();
    // Of a turn that was read once more, all parts are kept.
    if (this.#last.length === 0) this.#last = this.#staged!.map(({ shape }) => new RowBlock(shape));
    const candidates = this.#last.map((last, layer) => {
      const lists = sequence.lists[layer]!;
      const staged = lists.map(({ length }) => length + this.#stagedTokens);
      const [block, lane] = this.#staged ? [this.#staged[layer]!, 0] : [this.held.blocks[layer]!, this.lane];
      return new Candidates(
        block,
        lane,
        lists.map((list) => list.order()),
        staged,
        last,
        scratch,
      );
    });
    const views = sequence.views(this.tokens, this.#received, this.#counted, allowed, windows, {
      valueNorms: (layer, head) => candidates[layer]!.valueNorms(head),
      keys: sketcher && this.#sketches(candidates, sketcher),
    });
    const edits = sequence.policy.compress(views);
    const asking = edits.flatMap((heads, layer) =>
      heads.flatMap((edit, list) => {
        const question = questionOf(candidates[layer]!, edit, heads.length > 1 ? list : undefined);
        return question ? [{ edit, question }] : [];
      }),
    );
    const carryOut = (answers: readonly Int32Array[]) => {
      const merges = new Map(
        asking.map(({ edit, question }, index) => [edit, { from: question.from, into: answers[index]! }]),
      );
      const settled = edits.map((heads) => heads.map((edit) => ({ ...edit, ...merges.get(edit) })));
      return this.#carryOut(candidates, views, settled, goesOn, rotations);
    };
    const questions = asking.map(({ question }) => question);
    const answers = similar(questions);
    return Array.isArray(answers) ? carryOut(answers) : answers.then(carryOut);
  }

  #carryOut(
    candidates: readonly Candidates[],
    views: readonly (readonly TurnView[])[],
    edits: readonly (readonly TurnEdit[])[],
    goesOn: boolean,
    rotations: readonly KeyRotation[] | undefined,
  ): RowBlock[] {
    const { policy, shape, biases, roomFor } = this.held.settings;
    const { kvHeads, headDim, format } = shape;
    const made = candidates.map((each, layer) => {
      const choices = edits[layer]!.map((edit, list) => ({ ...views[layer]![list]!, ...edit }));
      const rotation = policy.turnMergedKeys ? rotations?.[layer] : undefined;
      return rebuild(each, choices, { kvHeads, headDim, format, biases }, roomFor, {
        logCountBias: policy.logCountBias ?? 0,
        rotation,
      });
    });
    this.sequence.commit(
      this.tokens,
      this.#counted,
      views,
      edits,
      made.map(({ counts }) => counts),
      goesOn,
    );
    return made.map(({ block }) => block);
  }

  #keep(layers: readonly LayerRows[], tokens: number): void {
    if (!this.#staged && this.sequence.most === 0) {
      this.#staged = this.#asGiven(layers, tokens);
      this.#stagedTokens = tokens;
      return;
    }
    this.#stage();
    const { kvHeads } = this.held.settings.shape;
    this.#staged!.forEach((block, layer) => {
      const rows = this.sequence.heldBy(layer, kvHeads).map((count) => count + this.#stagedTokens);
      // Empty rows cost attention: within a turn there are none.
      const needed = rows.map((row) => row + tokens);
      block.ensure(0, needed, (most) => most);
      block.append(0, rows, { ...layers[layer]!, capacity: tokens }, 0, tokens);
    });
    this.#stagedTokens += tokens;
  }

  #stage(): void {
    this.#staged ??= this.held.blocks.map((block, layer) => {
      const held = this.sequence.heldBy(layer, block.shape.kvHeads);
      const shape = { ...block.shape, lanes: 1 };
      const copy = new RowBlock(
        shape,
        block.layout.ends ? Layout.packed(shape, [held]) : this.sequence.held(layer),
      );
      copy.copyLane(0, block, this.lane, held);
      return copy;
    });
  }

  /** [layers] the rows of a part, where they lie. */
  #asGiven(layers: readonly LayerRows[], tokens: number): RowBlock[] {
    const { shape, biases } = this.held.settings;
    const { kvHeads, headDim, format } = shape;
    return layers.map((rows) =>
      RowBlock.of({ ...rows, capacity: tokens }, { kvHeads, headDim, format, biases }),
    );
  }

  /** The sketch of a token, by its position: of its keys in the layers that hold it. */
  #sketches(candidates: readonly Candidates[], sketcher: KeySketcher): (position: number) => Float32Array {
    const { sequence } = this;
    const key = new Float32Array(this.held.settings.shape.headDim);
    const known = new Map<number, Float32Array>();
    const read = (position: number) => (layer: number, head: number) => {
      const list = sequence.listOf(layer, head);
      const row = list.rowOf(position);
      if (position >= sequence.seen) {
        candidates[layer]!.read('keys', head, list.length + position - sequence.seen, key);
      } else if (row >= 0) {
        const [block, lane] = this.#staged
          ? [this.#staged[layer]!, 0]
          : [this.held.blocks[layer]!, this.lane];
        block.read('keys', lane, head, row, key);
      } else {
        key.fill(0);
      }
      return key;
    };
    return (position) => {
      const sketch = known.get(position) ?? sketcher.sketch(read(position));
      known.set(position, sketch);
      return sketch;
    };
  }
}

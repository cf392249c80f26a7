import { HIDDEN, type Mask } from '../../analysis/causal-mask.js';
import { type CacheShapes, sharedEvaluatorAtSizes } from '../../analysis/evaluate-at-sizes.js';
import { lengthConstants } from '../../analysis/length-constants.js';
import { attributeOf, intAttribute } from '../../onnx/attributes.js';
import type { Node } from '../../onnx/onnx.js';
import { beforeCasts, type GraphIndex } from '../../onnx/queries.js';

/** What lies between the product of queries and keys and the weights: softmax(mask + softcap * tanh(scale * product / softcap)). */
export interface ScoreChain {
  scale: number;
  /** 0 for none. */
  softcap: number;
  masks: Mask[];
  softmax: Node;
}

/** Nodes that pass the weights or the scores on unchanged. */
const PASSES = new Set(['Identity', 'Cast', 'CastLike', 'Dropout']);

/** Nodes that may set the scores of all rows and heads beside each other, or apart again. */
const RESHAPES = new Set(['Reshape', 'Unsqueeze', 'Squeeze']);

/** Sizes that no other dimension of scores has. */
const SIZES = { past: 67, tokens: 61, padded: 0 };

/** A product of queries and keys. */
interface Scores {
  node: Node;
  /** Its first dimensions, before [S, T]: [B, heads] or [B * heads]. */
  rows: readonly number[];
}

/** Takes apart what leads from `scores` to `weights`; the reason as a string when it is something else. */
export function scoreChain(
  index: GraphIndex,
  weights: string,
  { node, rows }: Scores,
  caches: CacheShapes,
): ScoreChain | string {
  const dims = [...rows, SIZES.tokens, SIZES.past + SIZES.tokens];
  sharedEvaluatorAtSizes(index, caches, SIZES).declare({ [node.output[0] ?? '']: dims });
  return new Chain(index, node, caches).read(weights);
}

/**
 * What a softmax over the last axis is taken of where ONNX Runtime's optimiser wrote it out, as it does for types for which it has
 * no kernel: exp(x - max(x)) / sum(exp(x - max(x))). Undefined when `node` is something else.
 */
function spelledOut(index: GraphIndex, node: Node): string | undefined {
  const [exponentials = '', sum = ''] = node.opType === 'Div' ? node.input : [];
  const exp = index.producer(exponentials);
  const difference = exp?.opType === 'Exp' ? index.producer(exp.input[0] ?? '') : undefined;
  const [over = '', largest = ''] = difference?.opType === 'Sub' ? difference.input : [];
  const whole = overLastAxis(index, sum, 'ReduceSum') === exponentials;
  return whole && overLastAxis(index, largest, 'ReduceMax') === over ? over || undefined : undefined;
}

/** What an operator reduces over its last axis, which it keeps. */
function overLastAxis(index: GraphIndex, name: string, opType: string): string | undefined {
  const node = index.producer(name);
  if (node?.opType !== opType || intAttribute(node, 'keepdims', 1) !== 1) return undefined;
  const [over, axes] = node.input;
  const numbers = axes ? index.constantNumbers(axes) : attributeOf(node, 'axes')?.ints.map(Number);
  return numbers?.length === 1 && numbers[0] === -1 ? over : undefined;
}

/** One node on the way from the scores to the softmax, and at which of its inputs the scores enter. */
interface ScoreStep {
  node: Node;
  input: number;
}

const STEPS = new Set([...PASSES, ...RESHAPES, 'Mul', 'Div', 'Tanh', 'Add', 'Where', 'Max']);

class Chain {
  constructor(
    private readonly index: GraphIndex,
    private readonly scores: Node,
    private readonly caches: CacheShapes,
  ) {}

  read(weights: string): ScoreChain | string {
    const softmax = this.softmaxOf(weights);
    const over =
      softmax && (softmax.opType === 'Softmax' ? softmax.input[0] : spelledOut(this.index, softmax));
    if (!over) {
      return softmax
        ? `what it multiplies comes from node "${softmax.name}" (${softmax.opType}), not from a softmax`
        : 'what it multiplies does not come from a softmax';
    }
    const axis = intAttribute(softmax, 'axis', -1);
    const last = (this.dims(over)?.length ?? 4) - 1;
    if (axis !== -1 && axis !== last) return `its softmax "${softmax.name}" is over axis ${axis}`;
    const steps = this.pathTo(over, new Set());
    if (!steps) return `its softmax "${softmax.name}" is not over the scores of node "${this.scores.name}"`;
    return this.readSteps(softmax, steps);
  }

  /** The softmax behind the weights, seen through casts, dropout, other shapes and the guard Where(IsNaN(p), 0, p). */
  private softmaxOf(weights: string): Node | undefined {
    const node = this.index.producer(weights);
    if (!node) return undefined;
    const [first = '', , third = ''] = node.input;
    if (PASSES.has(node.opType) || this.keepsRows(node)) return this.softmaxOf(first);
    if (node.opType === 'Where') {
      const test = this.index.producer(beforeCasts(this.index, first));
      const same = beforeCasts(this.index, test?.input[0] ?? '') === beforeCasts(this.index, third);
      if (test?.opType === 'IsNaN' && same && this.constant(node.input[1]) === 0)
        return this.softmaxOf(third);
    }
    return node;
  }

  /** The nodes from the scores to the value `name`, in order of computation. */
  private pathTo(name: string, tried: Set<string>): ScoreStep[] | undefined {
    const node = this.index.producer(name);
    if (!node || tried.has(name)) return undefined;
    tried.add(name);
    if (node === this.scores) return [];
    if (!STEPS.has(node.opType)) return undefined;
    // A mask may be made of the same operators, but never of the scores.
    for (const [input, value] of node.input.entries()) {
      if (node.opType === 'Where' && input === 0) continue;
      const path = this.pathTo(value, tried);
      if (path) return [...path, { node, input }];
    }
    return undefined;
  }

  private readSteps(softmax: Node, steps: readonly ScoreStep[]): ScoreChain | string {
    const masks: Mask[] = [];
    let scale = 1;
    let softcap = 0;
    let capped = false;
    /** The largest number that stands in the place of a hidden score. */
    let fill = Number.NEGATIVE_INFINITY;
    for (const { node, input } of steps) {
      const other = node.input[1 - input];
      const unknown = `node "${node.name}" (${node.opType}) changes the scores in a way that is not supported`;
      if (PASSES.has(node.opType)) continue;
      if (RESHAPES.has(node.opType)) {
        if (input !== 0 || !this.keepsRows(node)) return unknown;
      } else if (node.opType === 'Tanh') {
        if (capped || masks.length > 0) return unknown;
        capped = true;
      } else if (node.opType === 'Add') {
        masks.push({ value: other ?? '', use: 'added' });
      } else if (node.opType === 'Where' || node.opType === 'Max') {
        // What hides a score, or keeps the sum of several from being less than that.
        const least = this.constant(node.opType === 'Max' ? other : node.input[3 - input]);
        if (least === undefined || !(least <= HIDDEN) || node.input.length > 3) return unknown;
        if (node.opType === 'Where')
          masks.push({ value: node.input[0] ?? '', use: input === 1 ? 'keeps' : 'hides' });
        fill = Math.max(fill, least);
      } else {
        const number = this.constant(other);
        if (number === undefined || (node.opType === 'Div' && input !== 0)) return unknown;
        const factor = node.opType === 'Mul' ? number : 1 / number;
        // A scale after the masks must leave hidden what they hid.
        fill *= factor;
        if (masks.length > 0 && (capped || !(factor > 0) || fill > HIDDEN)) return unknown;
        for (const mask of masks) if (mask.use === 'added') mask.factor = (mask.factor ?? 1) * factor;
        if (!capped) scale *= factor;
        else softcap = (softcap || 1) * factor;
      }
    }
    if (capped && softcap === 0) softcap = 1;
    // c tanh(s x): the softcap's own division is part of s.
    if (capped) scale *= softcap;
    return { scale, softcap, masks, softmax };
  }

  /** Whether a node that gives scores or weights another shape leaves them a row of T for each of S tokens. */
  private keepsRows(node: Node): boolean {
    if (!RESHAPES.has(node.opType)) return false;
    const rows = `${SIZES.tokens},${SIZES.past + SIZES.tokens}`;
    return [node.input[0], node.output[0]].every(
      (name) =>
        this.dims(name ?? '')
          ?.slice(-2)
          .join() === rows,
    );
  }

  /** The dimensions of a value at `SIZES`; undefined when they are not known. */
  private dims(name: string): readonly number[] | undefined {
    try {
      return sharedEvaluatorAtSizes(this.index, this.caches, SIZES).dims(name);
    } catch {
      return undefined;
    }
  }

  /**
   * The one number that a value is, for a text of any length, also where the graph computes it from constants or from the sizes
   * of heads; undefined when it is no such number.
   */
  private constant(name: string | undefined): number | undefined {
    if (!name) return undefined;
    const { number, tables } = lengthConstants(this.index, name);
    if (tables.length > 0) return undefined;
    try {
      const [value, ...others] = [SIZES.past, number + SIZES.past].map((past) => {
        const { data } = sharedEvaluatorAtSizes(this.index, this.caches, { ...SIZES, past }).value(name);
        return data.length === 1 ? data[0] : undefined;
      });
      return others.every((other) => other === value) ? value : undefined;
    } catch {
      return undefined;
    }
  }
}

import {
  DynamicCache,
  type PreTrainedModel,
  type PreTrainedTokenizer,
  Tensor,
} from '@huggingface/transformers';
import { ElasticCacheError, reasonOf, refuseAborted } from '../errors.js';
import { KVCache } from '../memory/kv-cache.js';
import { full } from '../policies/full.js';
import { type BoundSession, CACHE_HANDLE_INPUT, type ElasticSession } from '../runtime/elastic-session.js';
import { realTokens, refuseNone } from '../runtime/passes/new-tokens.js';
import { SeenPictures } from './conversation/seen-pictures.js';
import { SeenTokens } from './conversation/seen-tokens.js';
import { familyOf, imageTokensOf } from './families/registry.js';
import { checkSettings, checkTokens } from './generation/checked-inputs.js';
import { contextLength, untilFull } from './generation/context-end.js';
import { endedBy } from './generation/ended-generation.js';
import { withSampling } from './generation/sampling.js';
import { leavingOne } from './generation/token-left.js';
import type { ElasticModel, GenerateOptions } from './loaded-model.js';

type Inputs = Record<string, unknown>;

/**
 * Lets a model whose decoder session is an `ElasticSession` take our caches: transformers.js only passes tensors on, so a
 * cache goes in as the tensor that stands for it.
 *
 * Each call runs on an object of its own that inherits from the model and whose decoder session is bound to the call's cache,
 * so calls that run at the same time know nothing of each other.
 */
export function withElasticCache(
  model: PreTrainedModel,
  session: ElasticSession,
  tokenizer: PreTrainedTokenizer,
): ElasticModel {
  const { generate, forward, dispose } = model;
  let disposed: ReturnType<typeof dispose> | undefined;
  const isImage = imageTokensOf(model);
  const longest = contextLength(model.config, session.decoder.signature.longestText);
  const family = familyOf(model.config.model_type);
  family.patchModel?.(model);
  const seen = new SeenTokens();
  const pictures = new SeenPictures(family);

  /** Calls `run` on a model that goes on from `cache`, with the cache in the form that transformers.js carries: a tensor that stands for it. */
  async function on<T>(
    cache: KVCache,
    inputs: Inputs,
    run: (model: PreTrainedModel, inputs: Inputs) => Promise<T>,
    signal?: AbortSignal | null,
  ): Promise<T> {
    if (disposed) {
      throw new ElasticCacheError(
        'invalid-model',
        'This model has been disposed of; load it again with loadElastic().',
      );
    }
    const tokens = idsOf(inputs) ?? (inputs.inputs_embeds as Tensor | undefined);
    const batch = tokens?.dims[0] ?? 1;
    if (tokens) refuseNone(tokens);
    return session.using(
      cache,
      batch,
      (bound) => {
        const own = boundTo(cache, bound);
        if (!(inputs.past_key_values instanceof KVCache)) return run(own, inputs);
        const { past_key_values: given, ...rest } = inputs;
        // An empty cache must not show: some classes take any past for a sign that the image has been seen.
        if (given.seen === 0) return run(own, rest);
        const handle = new Tensor(session.handleOf(given, batch));
        return run(own, { ...rest, past_key_values: new DynamicCache({ [CACHE_HANDLE_INPUT]: handle }) });
      },
      signal,
    );
  }

  /**
   * The model with `bound` for its decoder; `generate()` comes to its `forward` for every step. In a browser all of transformers.js's runs wait for each other, so the session
   * that it runs only begins a step, and `forward` gives what comes of it: sequences that are run together would wait for each other for ever.
   */
  function boundTo(cache: KVCache, bound: BoundSession): PreTrainedModel {
    let failure: unknown;
    let step: ReturnType<BoundSession['run']> | undefined;
    const takesNote = Object.create(bound, {
      run: {
        value: async (feeds: Parameters<BoundSession['run']>[0]) => {
          step = bound.run(feeds);
          // It is waited for below.
          step.catch(() => {});
          return {};
        },
      },
    });
    const fails = (cause: unknown) => {
      failure ??= cause;
    };
    const own: PreTrainedModel = Object.create(model);
    own.sessions = Object.fromEntries(
      Object.entries<unknown>(model.sessions).map(([name, each]) => [
        name,
        each === session
          ? takesNote
          : quiet(each as BoundSession, async (cause) =>
              fails((await session.decoder.lost()) ?? refusedBy(name, cause)),
            ),
      ]),
    );
    own.forward = async (inputs: Inputs) => {
      const ids = idsOf(inputs);
      const marks = ids && rowsOf(ids).map((row) => Uint8Array.from(row, (id) => (isImage?.(id) ? 1 : 0)));
      const first = cache.seen === 0;
      if (marks && (marks[0]!.length > 1 || !cache.begun))
        noteImage(cache, marks, inputs.attention_mask as Tensor | undefined);
      const counts = marks?.map((row) => row.reduce((count, mark) => count + mark, 0));
      const hasImages = counts?.some((count) => count > 0);
      if (hasImages && marks![0]!.length > 1 && !inputs.pixel_values) throw withoutPictures(counts!);
      const hashes = hasImages ? pictures.hashes(inputs, counts!) : undefined;
      const outputs = await forward.call(own, inputs).catch((cause: unknown) => {
        throw failure ?? cause;
      });
      if (failure !== undefined) throw failure;
      for (const [name, tensor] of Object.entries((await step) ?? {})) outputs[name] = new Tensor(tensor);
      step = undefined;
      seen.add(cache, ids);
      if (first || hasImages) pictures.add(cache, hashes ? await hashes : counts?.map(() => []), first);
      return outputs;
    };
    return own;
  }

  const elastic = model as ElasticModel;
  elastic.generate = (async (asked: GenerateOptions) => {
    checkSettings(asked);
    checkTokens(asked);
    const { signal, stop_strings, ...given } = asked;
    refuseAborted(signal);
    const stopping_criteria = endedBy({ signal, stop_strings }, tokenizer, given.stopping_criteria);
    const logits_processor = leavingOne(given.logits_processor);
    const options = { ...withSampling(model, { ...given, logits_processor }), stopping_criteria };
    const own = cacheIn(session, options);
    const cache = own ?? keepingAll();
    if (longest !== undefined) {
      const mask = given.attention_mask as Tensor | undefined;
      stopping_criteria.push(untilFull(longest, cache, idsOf(options), mask));
    }
    const ids = idsOf(options);
    // Before the prompts are compared: to a cache of another model none goes on.
    if (ids) session.claim(cache, ids.dims[0]!);
    const inputs = cache.seen > 0 ? await onlyNew(cache, options) : options;
    try {
      const output = await on(cache, inputs, (bound, translated) => generate.call(bound, translated), signal);
      refuseAborted(signal);
      return output;
    } finally {
      // Nobody sees it again, and what it has on a GPU waits for no collector.
      if (!own && !asked.return_dict_in_generate) cache.reset();
    }
  }) as ElasticModel['generate'];
  // A second time would be an error of ONNX Runtime's.
  elastic.dispose = () => {
    disposed ??= dispose.call(model);
    return disposed;
  };
  elastic.forward = async (inputs: Inputs) => {
    checkTokens(inputs);
    return on(cacheIn(session, inputs) ?? keepingAll(), inputs, (own, given) => own.forward(given));
  };

  /** Checks that a prompt goes on from what the cache has seen, pictures as well as tokens, and leaves out images that it has seen. */
  async function onlyNew(cache: KVCache, options: Inputs): Promise<Inputs> {
    const ids = idsOf(options);
    if (!ids) return options;
    const mask = options.attention_mask as Tensor | undefined;
    if (family.needsWholePrompt && mask && mask.dims[1]! > ids.dims[1]!) {
      throw new ElasticCacheError(
        'invalid-prompt',
        `input_ids are ${ids.dims[1]} new tokens alone, and this model's positions follow from those before them; pass the whole conversation.`,
      );
    }
    const fresh = seen.newPart(cache, ids, mask);
    if (!isImage) return options;
    const unseen = fresh.map((row) => row.filter(isImage).length);
    const all = rowsOf(ids).map((row) => row.filter(isImage).length);
    const prompts = all.map((count, row) => ({ seen: count - unseen[row]!, all: count }));
    const isNew = unseen.some((count) => count > 0);
    if (isNew && prompts.every((prompt) => prompt.seen === 0)) return options;
    const { pixel_values: _seen, ...withoutPictures } = options;
    const rest = isNew ? family.unseenImages(options, prompts) : withoutPictures;
    await pictures.refuseOther(cache, options, prompts);
    return rest;
  }

  return elastic;
}

/**
 * A session that tells of a failure and gives nothing: a run that rejects makes transformers.js print all inputs, and in a browser stops every later run of
 * every model.
 */
function quiet(session: BoundSession, fails: (cause: unknown) => Promise<void>): BoundSession {
  const run: BoundSession['run'] = (feeds) =>
    session.run(feeds).catch(async (cause: unknown) => {
      await fails(cause);
      return {};
    });
  return Object.create(session, { run: { value: run } });
}

/** What to throw for a prompt with places for pictures and none in them: they would be read as words. */
function withoutPictures(counts: readonly number[]): ElasticCacheError {
  return new ElasticCacheError(
    'invalid-prompt',
    `The prompt has ${Math.max(...counts)} image tokens and comes without pixel_values; pass all that the processor made of its images.`,
  );
}

/** What to throw when a session beside the decoder does not run. */
function refusedBy(name: string, cause: unknown): ElasticCacheError {
  const reason = reasonOf(cause).split('\n', 1)[0];
  return name === 'embed_tokens'
    ? new ElasticCacheError(
        'invalid-prompt',
        `embed_tokens cannot run these tokens; are they of this model's own tokenizer? (${reason})`,
        { cause },
      )
    : new ElasticCacheError(
        'invalid-model',
        `${name} cannot run what was prepared for it; its images must come from this model's own processor, and its files belong together (${reason})`,
        { cause },
      );
}

/**
 * What the session is handed are embeddings, so the cache hears here which of the new tokens are of an image.
 * @param marks [B] of [S] 1 for those
 */
function noteImage(cache: KVCache, marks: readonly Uint8Array[], mask: Tensor | undefined): void {
  realTokens(marks.length, marks[0]!.length, mask).forEach((places, row) => {
    cache.noteImage(
      Uint8Array.from(places, (place) => marks[row]![place]!),
      row,
    );
  });
}

/**
 * The cache among the inputs, whether it came as itself or as what an earlier `generate()` returned for it.
 * @throws ElasticCacheError 'invalid-option' for what is no cache
 */
function cacheIn(session: ElasticSession, { past_key_values: given }: Inputs): KVCache | undefined {
  if (given === undefined || given === null || given instanceof KVCache) return given ?? undefined;
  if (!(given instanceof DynamicCache)) {
    throw new ElasticCacheError(
      'invalid-option',
      'past_key_values is no cache of this library; pass new ElasticCache({ budget: 0.2 }), what an earlier generate() returned, or leave it out.',
    );
  }
  const handle = (given as unknown as Record<string, Tensor>)[CACHE_HANDLE_INPUT];
  return handle && session.cacheOf(handle.ort_tensor);
}

/** The cache of a call that brought none. */
function keepingAll(): KVCache {
  return new KVCache({ policy: full(), budget: 1 });
}

function rowsOf(ids: Tensor): bigint[][] {
  return ids.tolist() as bigint[][];
}

function idsOf(inputs: Inputs): Tensor | undefined {
  return (inputs.input_ids ?? inputs.inputs ?? undefined) as Tensor | undefined;
}

import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import type { Decoder } from '../../runtime/decoder.js';
import { ElasticSession } from '../../runtime/elastic-session.js';
import type { DecoderInput } from '../../runtime/new-tokens.js';
import type { LoadedModel } from '../loaded-model.js';

type Append = Parameters<KVCache['appendTurn']>;
type Logits = Awaited<ReturnType<Decoder['run']>>;

/** A prompt that was read, and what went into the cache piece by piece. */
interface Read {
  input: DecoderInput;
  /** How it was parted and which parts brought attention: depends on the policy. */
  parts: string;
  appends: Append[];
  logits: Logits;
}

/** What `encode_image` is given: besides the pixels, what the family adds. */
interface Pixels {
  pixel_values: object;
}

/**
 * Spares a sweep the work that is the same whatever the cache: the last image is encoded once, and the last prompt is read
 * once for each way in which policies have it parted. A cache that comes next gets the very rows that the decoder gave, so
 * its results are those of a run of its own. Only within {@link during}; one at a time.
 */
export class SharedPrompts {
  private active = false;
  private image: { pixels: object; features: unknown } | undefined;
  private reads: Read[] = [];

  constructor({ model }: LoadedModel) {
    const session = Object.values<unknown>(model.sessions).find((each) => each instanceof ElasticSession);
    if (!session) {
      throw new ElasticCacheError('invalid-model', 'only a model from loadElastic() shares its prompts.');
    }
    const { decoder } = session;
    const run = decoder.run.bind(decoder);
    // A cache that turns keys is told by the decoder how: it reads for itself.
    decoder.run = (cache, input) =>
      this.active && cache.seen === 0 && !cache.rotationNeeded
        ? this.readOnce(decoder.chunk, run, cache, input)
        : run(cache, input);
    // A model of text alone has nothing to encode.
    if (!model.encode_image) return;
    const encode: (inputs: Pixels) => Promise<unknown> = model.encode_image.bind(model);
    model.encode_image = (inputs: Pixels) => (this.active ? this.encodeOnce(encode, inputs) : encode(inputs));
  }

  /** Runs `task` on shared work. What is timed must run outside. */
  async during<T>(task: () => Promise<T>): Promise<T> {
    this.active = true;
    try {
      return await task();
    } finally {
      this.active = false;
    }
  }

  private async encodeOnce(encode: (inputs: Pixels) => Promise<unknown>, inputs: Pixels): Promise<unknown> {
    if (this.image?.pixels !== inputs.pixel_values) {
      this.image = { pixels: inputs.pixel_values, features: await encode(inputs) };
    }
    return this.image.features;
  }

  private async readOnce(
    chunk: number,
    run: Decoder['run'],
    cache: KVCache,
    input: DecoderInput,
  ): Promise<Logits> {
    const { peak } = cache.policy;
    const parts = JSON.stringify([input.logits, peak, cache.parts(input.newTokens.dims[1]!, chunk)]);
    // The rows of a long prompt are large: those of another are let go.
    if (this.reads.some((read) => !samePrompt(read.input, input))) this.reads = [];
    const known = this.reads.find((read) => read.parts === parts);
    if (known) {
      for (const append of known.appends) await cache.appendTurn(...append);
      return known.logits;
    }
    const appends: Append[] = [];
    const append = cache.appendTurn.bind(cache);
    cache.appendTurn = (...rows) => {
      appends.push(rows);
      return append(...rows);
    };
    try {
      const logits = await run(cache, input);
      this.reads.push({ input, parts, appends, logits });
      return logits;
    } finally {
      Reflect.deleteProperty(cache, 'appendTurn');
    }
  }
}

function samePrompt(a: DecoderInput, b: DecoderInput): boolean {
  return sameTensor(a.newTokens, b.newTokens) && sameTensor(a.positionIds, b.positionIds);
}

function sameTensor(a: Logits, b: Logits): boolean {
  const bytes = ({ data }: Logits) => {
    const { buffer, byteOffset, byteLength } = data as Float32Array;
    return Buffer.from(buffer, byteOffset, byteLength);
  };
  return a.dims.join() === b.dims.join() && bytes(a).equals(bytes(b));
}

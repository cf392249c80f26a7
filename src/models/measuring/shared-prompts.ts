import { ElasticCacheError } from '../../errors.js';
import type { KVCache } from '../../memory/kv-cache.js';
import type { Decoder } from '../../runtime/decoder.js';
import type { DecoderInput } from '../../runtime/passes/new-tokens.js';
import { decoderSession } from '../decoder-session.js';
import type { LoadedModel } from '../loaded-model.js';

type Logits = Awaited<ReturnType<Decoder['run']>>;
type Pass = Parameters<Decoder['pass']>[1];
type Passed = Awaited<ReturnType<Decoder['pass']>>;

/** A prompt whose parts are kept. */
interface Prompt {
  input: DecoderInput;
  /** What the decoder gave for a part, by all parts up to it. */
  passed: Map<string, Passed>;
}

/** A cache that reads a prompt, as far as it came. */
interface Reading {
  cache: KVCache;
  /** The parts so far: how long each was and what attention it brought, which changes the last bits of all rows behind it. */
  parts: string;
}

/** What `encode_image` is given: besides the pixels, what the family adds. */
interface Pixels {
  pixel_values: object;
}

/**
 * Spares a sweep the work that is the same whatever the cache: the last image is encoded once, and of the last prompt each part is run
 * once, for all policies that have asked alike up to its end. A cache that comes next gets the very rows that the decoder gave, so
 * its results are those of a run of its own. Only within {@link during}; one at a time.
 */
export class SharedPrompts {
  private active = false;
  private image: { pixels: object; features: unknown } | undefined;
  private prompt: Prompt | undefined;
  private reading: Reading | undefined;

  constructor({ model }: LoadedModel) {
    const session = decoderSession(model);
    if (!session) {
      throw new ElasticCacheError('invalid-model', 'only a model from loadElastic() shares its prompts.');
    }
    const { decoder } = session;
    const run = decoder.run.bind(decoder);
    // A cache that turns keys is told by the decoder how, and where the peak is bounded each reads what it has kept so far: these read for themselves.
    const alike = decoder.peak === 'prompt';
    decoder.run = (cache, input) =>
      this.active && alike && cache.seen === 0 && !cache.rotationNeeded
        ? this.readShared(run, cache, input)
        : run(cache, input);
    const pass = decoder.pass.bind(decoder);
    decoder.pass = (cache, part) =>
      this.reading?.cache === cache ? this.passOnce(pass, this.reading, part) : pass(cache, part);
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

  private async readShared(run: Decoder['run'], cache: KVCache, input: DecoderInput): Promise<Logits> {
    // The rows of a long prompt are large: those of another are let go.
    if (!this.prompt || !samePrompt(this.prompt.input, input)) this.prompt = { input, passed: new Map() };
    this.reading = { cache, parts: '' };
    try {
      return await run(cache, input);
    } finally {
      this.reading = undefined;
    }
  }

  private async passOnce(pass: Decoder['pass'], reading: Reading, part: Pass): Promise<Passed> {
    const { cache } = reading;
    const { passed } = this.prompt!;
    const received = part.observed > 0 ? ` ${cache.policy.peak ? 'peak' : 'sum'} of ${part.observed}` : '';
    reading.parts += `${part.newTokens.dims[1]}${received}, `;
    const name = `${reading.parts}${part.logits}`;
    const given = passed.get(name) ?? (await pass(cache, part));
    passed.set(name, given);
    return given;
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

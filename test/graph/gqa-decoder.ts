import { type Dim, GraphBuilder } from '../../src/graph/onnx/builder.js';
import { DataType, MICROSOFT, type Model } from '../../src/graph/onnx/onnx.js';
import { Float16Array } from './float16.js';
import { DEFAULTS, type GqaDecoderOptions } from './gqa-options.js';

export type { GqaDecoderOptions } from './gqa-options.js';

/** A small decoder with random weights in the layout that transformers.js runs: the test's stand-in for a hub model. */
export function buildGqaDecoder(overrides: Partial<GqaDecoderOptions> = {}): Model {
  const options = { ...DEFAULTS, rotaryDim: overrides.headDim ?? DEFAULTS.headDim, ...overrides };
  return new GqaDecoder(options).build();
}

/** Of the inputs and outputs, and of what lies between. */
const TYPES: Record<GqaDecoderOptions['float'], [DataType, DataType]> = {
  float32: [DataType.FLOAT, DataType.FLOAT],
  float16: [DataType.FLOAT16, DataType.FLOAT16],
  'float16-inside': [DataType.FLOAT, DataType.FLOAT16],
  bfloat16: [DataType.BFLOAT16, DataType.BFLOAT16],
};

class GqaDecoder {
  private readonly g = GraphBuilder.create('decoder', { '': 21, [MICROSOFT]: 1 });
  private readonly random: () => number;
  private readonly io: DataType;
  private readonly inner: DataType;

  constructor(private readonly o: GqaDecoderOptions) {
    this.random = gaussian(o.seed);
    [this.io, this.inner] = TYPES[o.float];
  }

  build(): Model {
    const { g, o } = this;
    const embeds = g.input('inputs_embeds', this.io, ['batch_size', 'sequence_length', o.hidden]);
    g.input('attention_mask', DataType.INT64, ['batch_size', 'total_sequence_length']);
    if (o.positionIds) g.input('position_ids', DataType.INT64, ['batch_size', 'sequence_length']);
    const past: Dim[] = [
      'batch_size',
      o.kvHeads,
      'past_sequence_length',
      o.declareHeadDim ? o.headDim : 'head_dim',
    ];
    const present: Dim[] = [
      'batch_size',
      o.kvHeads,
      'total_sequence_length',
      o.declareHeadDim ? o.headDim : 'head_dim',
    ];
    for (let i = 0; i < o.layers; i++) {
      for (const part of ['key', 'value']) g.input(`past_key_values.${i}.${part}`, this.io, past);
    }
    const lengths = this.lengths();
    const tables = o.rope === 'none' ? undefined : this.tables();
    const bias = o.bias === 'none' ? undefined : this.bias(o.bias);
    let x = this.enter(embeds);
    for (let i = 0; i < o.layers; i++) x = this.layer(x, i, lengths, tables, bias);
    const logits = this.project(this.norm(x, o.hidden), 'lm_head', o.hidden, o.vocab);
    this.leave(logits, 'logits');
    g.output('logits', this.io, ['batch_size', 'sequence_length', o.vocab]);
    for (let i = 0; i < o.layers; i++) {
      for (const part of ['key', 'value']) g.output(`present.${i}.${part}`, this.io, present);
    }
    return g.model;
  }

  private layer(
    x: string,
    i: number,
    lengths: { seqlens: string; total: string },
    tables?: { cos: string; sin: string },
    bias?: string,
  ): string {
    const { g, o } = this;
    const normed = this.norm(x, o.hidden);
    const width = { q: o.queryHeads * o.headDim, kv: o.kvHeads * o.headDim };
    let qkv: (string | undefined)[];
    if (o.packed) {
      qkv = [this.project(normed, `qkv.${i}`, o.hidden, width.q + 2 * width.kv), undefined, undefined];
    } else {
      qkv = [
        this.project(normed, `q.${i}`, o.hidden, width.q),
        this.project(normed, `k.${i}`, o.hidden, width.kv),
        this.project(normed, `v.${i}`, o.hidden, width.kv),
      ];
    }
    const norms = o.qkNorm === 'none' ? [] : [14, 15].map((at) => this.vector(`norm.${i}.${at}`, o.headDim));
    if (o.qkNorm === 'outside') {
      const heads = [o.queryHeads, o.kvHeads];
      qkv = qkv.map((x, at) => (norms[at] ? this.normHeads(x!, heads[at]!, norms[at]) : x));
    }
    if (o.rope === 'outside' && tables) {
      qkv = [this.rotate(qkv[0]!, o.queryHeads, tables), this.rotate(qkv[1]!, o.kvHeads, tables), qkv[2]];
    }
    const inside = o.rope === 'inside';
    const inputs: (string | undefined)[] = [
      ...qkv,
      this.enter(`past_key_values.${i}.key`),
      this.enter(`past_key_values.${i}.value`),
      lengths.seqlens,
      lengths.total,
      ...(o.inputs > 7 ? [inside ? tables!.cos : undefined, inside ? tables!.sin : undefined] : []),
    ];
    while (inputs.length < o.inputs) inputs.push(undefined);
    if (inside && o.positionIds && o.inputs > 9) inputs[9] = 'position_ids';
    if (bias) inputs[10] = bias;
    if (o.sink) inputs[11] = this.vector(`sink.${i}`, o.queryHeads);
    norms.forEach((weight, at) => {
      if (o.qkNorm === 'inside') inputs[14 + at] = weight;
    });
    for (const [at, name] of Object.entries(o.extraInputs)) inputs[Number(at)] = name;
    const outputs = [
      g.fresh(`attention_${i}`),
      ...['key', 'value'].map((part) => this.presentName(`present.${i}.${part}`)),
    ];
    if (o.probabilities) {
      outputs.push(
        g.output(`probabilities.${i}`, this.inner, [
          'batch_size',
          o.queryHeads,
          'sequence_length',
          'total_sequence_length',
        ]),
      );
    }
    g.ops('GroupQueryAttention', Array.from(inputs), {
      name: `/model/layers.${i}/attn/GroupQueryAttention`,
      domain: MICROSOFT,
      outputs,
      attributes: {
        num_heads: o.queryHeads,
        kv_num_heads: o.kvHeads,
        ...(o.scale ? { scale: { float: o.scale } } : {}),
        ...(o.windows[i] ? { local_window_size: o.windows[i] } : {}),
        ...(o.softcap ? { softcap: { float: o.softcap } } : {}),
        ...(inside ? { do_rotary: 1, rotary_interleaved: o.interleaved ? 1 : 0 } : {}),
        ...(o.probabilities ? { qk_output: 2 } : {}),
        ...o.extraAttributes,
      },
    });
    for (const [part, at] of [
      ['key', 1],
      ['value', 2],
    ] as const) {
      if (o.float === 'float16-inside') this.leave(outputs[at]!, `present.${i}.${part}`);
    }
    return g.op('Add', [x, this.project(outputs[0]!, `o.${i}`, width.q, o.hidden)]);
  }

  private presentName(name: string): string {
    return this.o.float === 'float16-inside' ? this.g.fresh(`${name}_fp16`) : name;
  }

  private enter(name: string): string {
    return this.io === this.inner ? name : this.g.op('Cast', [name], { attributes: { to: this.inner } });
  }

  private leave(value: string, name: string): void {
    if (this.io === this.inner) this.g.op('Identity', [value], { outputs: [name] });
    else this.g.op('Cast', [value], { attributes: { to: this.io }, outputs: [name] });
  }

  private lengths(): { seqlens: string; total: string } {
    const { g } = this;
    const sum = g.op('ReduceSum', ['attention_mask', g.int64('one_axis', [1], [1])], {
      attributes: { keepdims: 0 },
    });
    const last = g.op('Sub', [sum, g.int64('one', [1], [1])]);
    const total = g.op('Gather', [g.op('Shape', ['attention_mask']), g.int64('one_index', [], [1])]);
    const int32 = (name: string) => g.op('Cast', [name], { attributes: { to: DataType.INT32 } });
    return { seqlens: int32(last), total: int32(total) };
  }

  private tables(): { cos: string; sin: string } {
    const half = this.o.rotaryDim / 2;
    const angles = Array.from(
      { length: this.o.longest * half },
      (_, i) => Math.floor(i / half) * 10000 ** (-(i % half) / half),
    );
    return {
      cos: this.tensor('cos_cache', [this.o.longest, half], angles.map(Math.cos)),
      sin: this.tensor('sin_cache', [this.o.longest, half], angles.map(Math.sin)),
    };
  }

  /** [1, 1 or heads, S, T], made of lengths. */
  private bias(kind: 'causal' | 'window' | 'alibi'): string {
    const { g, o } = this;
    const size = (name: string) => g.op('Gather', [g.op('Shape', [name]), g.int64('length_axis', [], [1])]);
    const [zero, one] = [g.int64('zero', [], [0]), g.int64('step', [], [1])];
    const total = size('attention_mask');
    const keys = g.op('Range', [zero, total, one]);
    const first = g.op('Sub', [total, size('inputs_embeds')]);
    const queries = g.op('Unsqueeze', [g.op('Range', [first, total, one]), g.int64('last', [1], [1])]);
    const before = g.op('Sub', [queries, keys]);
    const batched = (name: string) => g.op('Unsqueeze', [name, g.int64('batch_axes', [2], [0, 1])]);
    if (kind === 'alibi') {
      const slopes = Array.from({ length: o.queryHeads }, (_, head) => -(2 ** -head));
      const distance = g.op('Cast', [batched(before)], { attributes: { to: this.inner } });
      return g.op('Mul', [distance, this.tensor('slopes', [1, o.queryHeads, 1, 1], slopes)]);
    }
    const future = g.op('Less', [before, zero]);
    const old = g.op('GreaterOrEqual', [before, g.int64('window', [], [6])]);
    const hidden = kind === 'window' ? g.op('Or', [future, old]) : future;
    return batched(
      g.op('Where', [hidden, this.tensor('hidden', [], [-65504]), this.tensor('shown', [], [0])]),
    );
  }

  private rotate(x: string, heads: number, { cos, sin }: { cos: string; sin: string }): string {
    const partial = this.o.rotaryDim < this.o.headDim;
    return this.g.op('RotaryEmbedding', [x, 'position_ids', cos, sin], {
      domain: MICROSOFT,
      attributes: {
        interleaved: this.o.interleaved ? 1 : 0,
        ...(partial ? { num_heads: heads, rotary_embedding_dim: this.o.rotaryDim } : {}),
      },
    });
  }

  private norm(x: string, width: number): string {
    return this.g.op('SimplifiedLayerNormalization', [x, this.vector('norm', width)], {
      attributes: { axis: -1, epsilon: { float: 1e-5 }, stash_type: 1 },
    });
  }

  private normHeads(x: string, heads: number, weight: string): string {
    const { g, o } = this;
    const perHead = g.op('Reshape', [x, g.int64('heads_shape', [4], [0, 0, heads, o.headDim])]);
    const normed = g.op('SimplifiedLayerNormalization', [perHead, weight], {
      attributes: { axis: -1, epsilon: { float: 1e-6 }, stash_type: 1 },
    });
    return g.op('Reshape', [normed, g.int64('rows_shape', [3], [0, 0, heads * o.headDim])]);
  }

  private project(x: string, name: string, from: number, to: number): string {
    const { g, o } = this;
    if (o.weights === 'float32') {
      const values = Array.from({ length: from * to }, () => this.random() / Math.sqrt(from));
      return g.op('MatMul', [x, this.tensor(`${name}.weight`, [from, to], values)]);
    }
    if (o.weights === 'int8') {
      const bytes = Uint8Array.from({ length: from * to }, () => 128 + Math.round(40 * this.random()));
      const [rows = '', scale = '', zero = ''] = g.ops('DynamicQuantizeLinear', [x], { outputs: 3 });
      const products = g.op('MatMulInteger', [
        rows,
        g.uint8(`${name}.weight`, [from, to], bytes),
        zero,
        g.uint8(`${name}.zero`, [], Uint8Array.of(128)),
      ]);
      const scales = g.op('Mul', [scale, g.float32(`${name}.scale`, [], [1 / (40 * Math.sqrt(from))])]);
      return g.op('Mul', [g.op('Cast', [products], { attributes: { to: DataType.FLOAT } }), scales]);
    }
    const block = 32;
    const blocks = from / block;
    const packed = Uint8Array.from(
      { length: (to * from) / 2 },
      () => Math.floor(Math.abs(this.random()) * 1e6) % 256,
    );
    const scales = Array.from({ length: to * blocks }, () => 0.25 / Math.sqrt(from));
    return g.op(
      'MatMulNBits',
      [
        x,
        g.uint8(`${name}.weight`, [to, blocks, block / 2], packed),
        this.tensor(`${name}.scales`, [to * blocks], scales),
      ],
      { domain: MICROSOFT, attributes: { K: from, N: to, bits: 4, block_size: block } },
    );
  }

  private vector(name: string, width: number): string {
    return this.tensor(
      name,
      [width],
      Array.from({ length: width }, () => 1 + 0.1 * this.random()),
    );
  }

  private tensor(name: string, dims: number[], values: number[]): string {
    if (this.inner === DataType.FLOAT) return this.g.float32(name, dims, values);
    const half =
      this.inner === DataType.BFLOAT16
        ? Uint16Array.from(new Uint32Array(Float32Array.from(values).buffer), (bits) => bits >>> 16)
        : Float16Array.from(values);
    return this.g.raw(name, this.inner, dims, new Uint8Array(half.buffer));
  }
}

/** Normally distributed numbers from a seed (mulberry32 and Box-Muller). */
export function gaussian(seed: number): () => number {
  let state = seed;
  const uniform = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

import { RawImage, Tensor } from '@huggingface/transformers';

/** Tensors and images in values that go to another thread or process, where objects lose their class. */

type Plain =
  | { readonly portable: 'tensor'; type: Tensor['type']; data: Tensor['data']; dims: number[] }
  | {
      readonly portable: 'image';
      data: RawImage['data'];
      width: number;
      height: number;
      channels: RawImage['channels'];
    };

/** The value with every tensor, image and address in it as plain data; lists and plain objects are copied, anything else is left. */
export function portable(value: unknown): unknown {
  if (value instanceof Tensor) {
    const { type, data, dims } = value;
    return { portable: 'tensor', type, data, dims: [...dims] } satisfies Plain;
  }
  if (value instanceof RawImage) {
    const { data, width, height, channels } = value;
    return { portable: 'image', data, width, height, channels } satisfies Plain;
  }
  if (value instanceof URL) return value.href;
  return mapped(value, portable);
}

/** What {@link portable} was given. */
export function restored(value: unknown): unknown {
  const plain = Object(value) as Plain;
  if (plain.portable === 'tensor') return new Tensor(plain.type, plain.data as never, plain.dims);
  if (plain.portable === 'image') return new RawImage(plain.data, plain.width, plain.height, plain.channels);
  return mapped(value, restored);
}

function mapped(value: unknown, change: (value: unknown) => unknown): unknown {
  if (Array.isArray(value)) return value.map(change);
  if (typeof value !== 'object' || value === null) return value;
  // Processors hand their tensors in a class of their own, as any object.
  const isList = ArrayBuffer.isView(value) || value instanceof ArrayBuffer || value instanceof Blob;
  if (isList || value instanceof AbortSignal) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, change(each)]));
}

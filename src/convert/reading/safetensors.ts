import type { FileHandle } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';
import { bytesPerElement, type TensorEntry, truncated } from './tensor-file.js';

const headerSchema = z.record(
  z.string(),
  z.object({
    dtype: z.string(),
    shape: z.array(z.number().int().nonnegative()),
    data_offsets: z.tuple([z.number().int().nonnegative(), z.number().int().nonnegative()]),
  }),
);

/**
 * The tensors of a safetensors file.
 * Format: an 8-byte little-endian header length, a JSON header, the bytes of the tensors.
 * @throws ElasticCacheError 'invalid-checkpoint' when the header is damaged or the file ends before its tensors do.
 */
export async function readSafetensors(path: string, handle: FileHandle): Promise<Map<string, TensorEntry>> {
  const { size } = await handle.stat();
  const prefix = Buffer.alloc(8);
  if ((await handle.read(prefix, 0, 8, 0)).bytesRead < 8) throw truncated(path);
  const headerLength = Number(prefix.readBigUInt64LE());
  if (headerLength > size - 8) throw truncated(path);
  const text = Buffer.alloc(headerLength);
  if ((await handle.read(text, 0, headerLength, 8)).bytesRead < headerLength) throw truncated(path);
  const header = parseHeader(path, text.toString('utf8'));
  const tensors = new Map<string, TensorEntry>();
  for (const [
    name,
    {
      dtype,
      shape,
      data_offsets: [start, end],
    },
  ] of Object.entries(header)) {
    const width = bytesPerElement.get(dtype);
    const count = shape.reduce((product, dim) => product * dim, 1);
    if (end < start || (width !== undefined && end - start !== count * width)) {
      throw new ElasticCacheError(
        'invalid-checkpoint',
        `Tensor "${name}" in ${basename(path)} says ${dtype} [${shape.join(', ')}] but has ${end - start} bytes: the file is damaged, download it again.`,
      );
    }
    if (8 + headerLength + end > size) throw truncated(path, name);
    tensors.set(name, { dtype, shape, offset: 8 + headerLength + start, length: end - start });
  }
  return tensors;
}

function parseHeader(path: string, text: string): z.infer<typeof headerSchema> {
  try {
    const { __metadata__: _, ...header } = z.record(z.string(), z.unknown()).parse(JSON.parse(text));
    return headerSchema.parse(header);
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-checkpoint',
      `${basename(path)} is not a safetensors file, its header cannot be read: download it again.`,
      { cause },
    );
  }
}

import type { PolicyState } from '../../cache/policy.js';
import type { StoredArray } from './safetensors.js';

/** Where an array was, in plain data: the name under which it is stored. */
const ARRAY = '$array';

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** Plain data with its typed arrays taken out into `tensors`, under names that begin with `prefix`. */
export function withoutArrays(state: unknown, prefix: string, tensors: Map<string, StoredArray>): Json {
  if (ArrayBuffer.isView(state)) {
    const name = `${prefix}${tensors.size}`;
    tensors.set(name, state as StoredArray);
    return { [ARRAY]: name };
  }
  if (Array.isArray(state)) return state.map((each) => withoutArrays(each, prefix, tensors));
  if (typeof state === 'object' && state !== null) {
    const entries = Object.entries(state).map(([name, each]) => [name, withoutArrays(each, prefix, tensors)]);
    return Object.fromEntries(entries);
  }
  return (state ?? null) as Json;
}

/** The same data with its arrays put back. */
export function withArrays(json: Json, tensors: ReadonlyMap<string, StoredArray>): PolicyState {
  if (Array.isArray(json)) return json.map((each) => withArrays(each, tensors));
  if (typeof json !== 'object' || json === null) return json;
  const name = json[ARRAY];
  if (typeof name === 'string') return tensors.get(name) as PolicyState;
  const entries = Object.entries(json).map(([key, each]) => [key, withArrays(each, tensors)]);
  return Object.fromEntries(entries);
}

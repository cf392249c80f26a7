import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EngineEvent, EngineRequest } from '../../src/engine/request.js';
import { chat, ElasticCache, type LoadedModel, loadElastic } from '../../src/index.js';
import type { PolicySpec } from '../../src/policies/registry.js';
import { writeTinyLlava } from '../runtime/tiny-llava.js';

/** A LLaVA with random weights, in a directory that `remove` deletes. */
export async function tinyModel(): Promise<{
  loaded: LoadedModel;
  directory: string;
  remove: () => Promise<void>;
}> {
  const directory = await mkdtemp(join(tmpdir(), 'engine-'));
  await writeTinyLlava(directory);
  const loaded = await loadElastic(directory, { chunk: 32 });
  const remove = async () => {
    await loaded.model.dispose();
    await rm(directory, { recursive: true });
  };
  return { loaded, directory, remove };
}

/** Some words that the tiny model knows, others for each number. */
export function words(count: number, from: number): string {
  return Array.from({ length: count }, (_, i) => `w${(from * 7 + i * i) % 60}`).join(' ');
}

export interface Heard {
  events: EngineEvent[];
  text: string;
  reason: string | undefined;
  error: { code: string } | undefined;
}

/** Everything that comes of a request; `onEvent` may end it. */
export async function heard(
  events: AsyncIterable<EngineEvent>,
  onEvent: (event: EngineEvent) => void = () => {},
): Promise<Heard> {
  const all: EngineEvent[] = [];
  let error: Heard['error'];
  try {
    for await (const event of events) {
      all.push(event);
      onEvent(event);
    }
  } catch (cause) {
    error = cause as { code: string };
  }
  const text = all.map((event) => (event.type === 'text' ? event.text : '')).join('');
  const last = all.at(-1);
  return { events: all, text, reason: last?.type === 'finish' ? last.reason : undefined, error };
}

/** What a request with one message gets when nothing else runs, and no engine is there. */
export async function alone(loaded: LoadedModel, request: EngineRequest): Promise<string> {
  const {
    messages,
    policy,
    budget,
    inputs: _inputs,
    prompt: _prompt,
    priority: _priority,
    ...settings
  } = request;
  const cache = new ElasticCache({
    ...(policy !== undefined && { policy: policy as PolicySpec }),
    ...(budget !== undefined && { budget }),
  });
  const { ask } = chat(loaded, { cache });
  const { content, images = [] } = messages![0]!;
  let text = '';
  for await (const event of ask({ prompt: content, images, ...settings })) {
    if (event.type === 'text') text += event.text;
  }
  return text;
}

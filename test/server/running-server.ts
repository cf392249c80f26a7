import { readFile } from 'node:fs/promises';
import { servePage } from '../../src/cli/bundled/page.js';
import { createEngine } from '../../src/engine/create-engine.js';
import type { Engine, EngineOptions } from '../../src/engine/request.js';
import { embeddedImage, embeddedModel, readImage } from '../../src/index.js';
import { loadElastic } from '../../src/models/load.js';
import { type App, createApp } from '../../src/server/app.js';
import { type Listening, listen } from '../../src/server/listen.js';
import type { Log, ServerSettings } from '../../src/server/settings.js';

export interface Running {
  readonly app: App;
  readonly engine: Engine;
  readonly url: string;
  /** What was written to the log. */
  readonly logged: { fields: object; message: string }[];
  readonly stop: () => Promise<void>;
}

export const MODEL = 'llava-scenes';
const MB = 1e6;

/** A server on the embedded model, on a port that is free. */
export async function serving(
  settings: Partial<ServerSettings> = {},
  options: EngineOptions = {},
): Promise<Running> {
  const loaded = await loadElastic(embeddedModel());
  const engine = await createEngine(loaded, { lanes: 4, ...options });
  const running = await servingOn(engine, { lanes: options.lanes ?? 4, ...settings });
  const stop = async () => {
    await running.stop();
    await loaded.model.dispose();
  };
  return { ...running, stop };
}

/** A server on an engine, which it closes in the end. */
export async function servingOn(engine: Engine, settings: Partial<ServerSettings> = {}): Promise<Running> {
  const logged: Running['logged'] = [];
  const note = (fields: object, message: string) => void logged.push({ fields, message });
  const log: Log = { info: note, warn: note, error: note };
  const app = createApp({
    engine,
    decoder: { decode: (bytes, name) => readImage(bytes, { name }), end: () => {} },
    model: MODEL,
    lanes: 4,
    waiting: 8,
    waitingMs: 30_000,
    deadlineMs: 60_000,
    longest: 64,
    body: 8 * MB,
    images: { remote: false, most: 4, mostBytes: 16 * MB },
    local: true,
    version: '0.0.0',
    page: await servePage('server'),
    log,
    ...settings,
  });
  const listening: Listening = await listen(app, '127.0.0.1', 0, 120_000);
  const stop = async () => {
    listening.cut();
    await listening.close();
    await engine.close();
  };
  return { app, engine, url: `http://127.0.0.1:${listening.port}`, logged, stop };
}

/** A scene that comes with the package, as clients send it. */
export async function sceneUrl(scene: number): Promise<string> {
  return `data:image/png;base64,${(await readFile(embeddedImage(scene))).toString('base64')}`;
}

/** A message with one image. */
export async function seen(scene: number, text = 'Describe the image in detail.') {
  const url = await sceneUrl(scene);
  return {
    role: 'user' as const,
    content: [
      { type: 'image_url' as const, image_url: { url } },
      { type: 'text' as const, text },
    ],
  };
}

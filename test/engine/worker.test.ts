import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeProcess } from '../../src/engine/worker/node-process.js';
import type { Command, WorkerPort } from '../../src/engine/worker/protocol.js';
import { RemoteEngine } from '../../src/engine/worker/remote-engine.js';
import { type EngineRequest, type LoadedModel, prepareInputs } from '../../src/index.js';
import { full } from '../../src/policies/full.js';
import { picture } from '../picture.js';
import { alone, heard, tinyModel, words } from './tiny-engine.js';

let loaded: LoadedModel;
let directory: string;
let remove: () => Promise<void>;

beforeAll(async () => {
  ({ loaded, directory, remove } = await tinyModel());
});
afterAll(() => remove());

/** Workers as they are built, each noted; `onCommand` is told of what one is about to be sent, and may have it die first. */
function workers(onCommand: (command: Command, kill: () => void) => void = () => {}) {
  const made: WorkerPort[] = [];
  const spawnBuilt = nodeProcess(new URL('dying-worker.mjs', import.meta.url));
  const spawn = () => {
    const port = spawnBuilt();
    made.push(port);
    const kill = () => port.send({ type: 'die' } as never);
    return {
      ...port,
      send(command: Command) {
        onCommand(command, kill);
        port.send(command);
      },
    };
  };
  return { made, spawn };
}

const open = (spawn: () => WorkerPort, options = {}) =>
  RemoteEngine.open(spawn, { model: directory, load: { chunk: 32 }, options });
const asking = (content: string, rest: Partial<EngineRequest> = {}): EngineRequest => ({
  messages: [{ role: 'user', content }],
  maxNewTokens: 10,
  ...rest,
});

describe('an engine in a worker', () => {
  it('answers as one in this thread, texts and images and inputs', async () => {
    const engine = await open(workers().spawn);
    const requests = [
      asking(words(40, 1), { temperature: 1, seed: 3 }),
      { messages: [{ role: 'user' as const, content: words(9, 2), images: [picture(5)] }], maxNewTokens: 10 },
    ];
    const inputs = await prepareInputs(loaded, { images: [picture(5)], prompt: words(9, 2) });
    const [first, second, third] = await Promise.all([
      ...requests.map((request) => heard(engine.add(request))),
      heard(engine.add({ inputs, maxNewTokens: 10 })),
    ]);
    expect(first!.text).toBe(await alone(loaded, requests[0]!));
    expect(second!.text).toBe(await alone(loaded, requests[1]!));
    expect(third!.text).toBe(second!.text);
    expect(engine.stats).toEqual({
      waiting: 0,
      running: 0,
      bytesPromised: 0,
      bytesAllocated: 0,
      bytesParked: expect.any(Number),
      bytesOnDisk: 0,
      steps: expect.any(Number),
    });
    await engine.close();
  });

  it('hands on errors, and refuses what cannot be copied there', async () => {
    const engine = await open(workers().spawn);
    const { error } = await heard(engine.add(asking('<image>')));
    expect(error).toMatchObject({ code: 'invalid-prompt', message: expect.stringContaining('<image>') });
    const own = await heard(engine.add(asking('w1', { policy: full() })));
    expect(own.error).toMatchObject({
      code: 'invalid-option',
      message: expect.stringContaining('createEngine(await loadElastic'),
    });
    await engine.close();
    await expect(
      RemoteEngine.open(workers().spawn, { model: `${directory}/none`, load: {}, options: {} }),
    ).rejects.toMatchObject({ code: 'missing-file' });
  });

  it('ends what is aborted', async () => {
    const engine = await open(workers().spawn);
    const abort = new AbortController();
    const long = heard(
      engine.add(asking(words(5, 1), { maxNewTokens: 1500, signal: abort.signal })),
      (event) => {
        if (event.type === 'text') abort.abort();
      },
    );
    expect((await long).reason).toBe('aborted');
    await engine.close();
    expect((await heard(engine.add(asking('w1')))).error).toMatchObject({
      message: expect.stringContaining('closed'),
    });
  });

  it('is closed as often as one likes', async () => {
    const engine = await open(workers().spawn);
    await Promise.all([engine.close(), engine.close()]);
    await engine.close();
  });
});

describe('a worker that dies', () => {
  it('takes with it what ran, and what waited goes on in another', async () => {
    let kill = () => {};
    const { made, spawn } = workers((_, own) => {
      kill = own;
    });
    const engine = await open(spawn, { lanes: 1 });
    let prepared = 0;
    const running = heard(engine.add(asking(words(5, 1), { maxNewTokens: 1500 })), ({ type }) => {
      if (type === 'text' && prepared++ === 20) kill();
    });
    const waiting = [2, 3].map((seed) => heard(engine.add(asking(words(5, seed)))));
    expect((await running).error).toMatchObject({
      code: 'worker-died',
      message: expect.stringContaining('ask again'),
    });
    const texts = (await Promise.all(waiting)).map(({ text }) => text);
    expect(texts).toEqual(await Promise.all([2, 3].map((seed) => alone(loaded, asking(words(5, seed))))));
    expect(made.length).toBe(2);
    await engine.close();
  });

  it('while it loads the model is followed by another, but not without end', async () => {
    let deaths = 2;
    const { made, spawn } = workers((command, kill) => {
      const isLater = made.length > 1;
      if (command.type === 'open' && isLater && deaths-- > 0) kill();
      if (command.type === 'add' && !isLater) kill();
    });
    const engine = await open(spawn);
    const request = asking(words(5, 1));
    const { text } = await heard(engine.add(request));
    expect([text, made.length]).toEqual([await alone(loaded, request), 4]);
    deaths = Number.POSITIVE_INFINITY;
    made.at(-1)!.send({ type: 'die' } as never);
    await expect(engine.ended).rejects.toMatchObject({ code: 'worker-died' });
    expect(made.length).toBe(7);
    expect((await heard(engine.add(request))).error).toMatchObject({ code: 'invalid-option' });
  });

  it('or makes no step any more is ended, and followed by another', async () => {
    const { made, spawn } = workers();
    const engine = await open(spawn, { patience: 1000, lanes: 1 });
    const running = heard(engine.add(asking(words(5, 1), { maxNewTokens: 1500 })), ({ type }) => {
      if (type === 'text') made[0]!.send({ type: 'hang' } as never);
    });
    const waiting = heard(engine.add(asking(words(5, 2))));
    expect((await running).error).toMatchObject({
      code: 'worker-died',
      message: expect.stringContaining('it made no step in 1 seconds'),
    });
    expect((await waiting).text).toBe(await alone(loaded, asking(words(5, 2))));
    // One that has nothing to do is left alone.
    await new Promise((resolve) => setTimeout(resolve, 1300));
    expect(made.length).toBe(2);
    await engine.close();
  });

  it('twice of one request has it refused, and no other', async () => {
    const { made, spawn } = workers((command, kill) => {
      if (command.type === 'add' && command.request.seed === 666) kill();
    });
    const engine = await open(spawn);
    const { error } = await heard(engine.add(asking('w1', { seed: 666 })));
    expect(error).toMatchObject({ code: 'fatal-request', message: expect.stringContaining('Two workers') });
    const other = await heard(engine.add(asking('w1')));
    expect([made.length, other.error]).toEqual([3, undefined]);
    await engine.close();
  });
});

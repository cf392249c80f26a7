import { loadElastic } from '../../models/load.js';
import { restored } from '../../models/portable.js';
import { LocalEngine } from '../local-engine.js';
import type { EngineRequest } from '../request.js';
import { type Command, type Opening, type Port, plainError, type Report } from './protocol.js';

/** Milliseconds between signs of life. */
const ALIVE = 1000;

/** Runs an engine for who is at the other end of a line: loads its model, takes requests, and tells what comes of them. */
export function serveEngine(port: Port<Report, Command>): void {
  let engine: LocalEngine;
  let letGo: () => Promise<unknown> = async () => {};
  const aborts = new Map<number, AbortController>();

  const alive = setInterval(() => {
    if (aborts.size > 0) port.send({ type: 'alive', stats: engine.stats });
  }, ALIVE);
  // Timers of browsers have no such thing.
  (alive as { unref?: () => void }).unref?.();

  async function open({ model, load = {}, options }: Opening): Promise<void> {
    const loaded = await loadElastic(model, {
      ...load,
      progress_callback: (event) => port.send({ type: 'progress', event }),
    });
    letGo = () => loaded.model.dispose();
    const onWarning = (message: string) => port.send({ type: 'warning', message });
    engine = await LocalEngine.open(loaded, { ...options, onWarning });
  }

  async function answer(id: number, request: EngineRequest): Promise<void> {
    const abort = new AbortController();
    aborts.set(id, abort);
    let error: unknown;
    try {
      const own = { ...(restored(request) as EngineRequest), signal: abort.signal };
      for await (const event of engine.add(own, () => port.send({ type: 'prepared', id }))) {
        port.send({ type: 'event', id, event, stats: engine.stats });
      }
    } catch (cause) {
      error = cause;
    }
    aborts.delete(id);
    port.send({
      type: 'ended',
      id,
      error: error === undefined ? undefined : plainError(error),
      stats: engine.stats,
    });
  }

  port.listen((command) => {
    if (command.type === 'open') {
      open(command).then(
        () => port.send({ type: 'opened', model: engine.model }),
        (cause: unknown) => port.send({ type: 'failed', error: plainError(cause) }),
      );
    } else if (command.type === 'add') void answer(command.id, command.request);
    else if (command.type === 'abort') aborts.get(command.id)?.abort();
    else if (command.type === 'close') {
      engine
        .close()
        .then(letGo)
        .finally(() => port.send({ type: 'closed' }));
    }
  });
}

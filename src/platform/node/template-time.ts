import { createContext, Script } from 'node:vm';

const context = createContext({ render: undefined });
const script = new Script('render()');

/**
 * Ends what runs longer than `milliseconds`, an endless loop as well. What it holds is not bounded: V8 ends the process when
 * there is no more memory, also where it runs in a worker thread with `resourceLimits` (seen on Node 20.20, with a list that is doubled).
 * @returns what `run` returns; undefined when it was ended
 */
export function withinTime(milliseconds: number, run: () => string): string | undefined {
  context.render = run;
  try {
    return script.runInContext(context, { timeout: milliseconds }) as string;
  } catch (cause) {
    if ((cause as { code?: string }).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw cause;
    return undefined;
  } finally {
    context.render = undefined;
  }
}

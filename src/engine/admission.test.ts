import { describe, expect, it } from 'vitest';
import { Admission, type Limits } from './admission.js';

const limits: Limits = { lanes: 4, memory: Number.POSITIVE_INFINITY, bytesPerRow: 10 };
/** 320 bytes. */
const small = { kind: '', entries: 1, rows: 32, reading: 0 };
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Lets requests in under names, and notes in which order they come in. */
function entrance(admission: Admission) {
  const inside: string[] = [];
  const leave = new Map<string, () => void>();
  const enter = (name: string, rank = 0, need = small, signal?: AbortSignal) =>
    admission.enter(need, rank, signal).then(
      (release) => {
        inside.push(name);
        leave.set(name, release);
      },
      (cause: { code: string }) => void inside.push(`${name}: ${cause.code}`),
    );
  return { inside, enter, leave: (name: string) => leave.get(name)!() };
}

describe('admission', () => {
  it('lets in as many as there are lanes, then those who wait by their rank', async () => {
    const { inside, enter, leave } = entrance(new Admission({ ...limits, lanes: 1 }));
    for (const [name, rank] of Object.entries({ a: 5, b: 9, c: 7, d: 7 })) void enter(name, rank);
    await settled();
    expect(inside).toEqual(['a']);
    for (const name of ['a', 'c', 'd']) {
      leave(name);
      await settled();
    }
    expect(inside).toEqual(['a', 'c', 'd', 'b']);
  });

  it('promises no more memory than there is, and lets nobody overtake', async () => {
    const admission = new Admission({ ...limits, memory: 4 * 320 });
    const { inside, enter, leave } = entrance(admission);
    void enter('small', 0, { ...small, entries: 10 });
    void enter('large', 1, { ...small, rows: 96 });
    void enter('small too', 2, { ...small, entries: 10 });
    await settled();
    expect([inside, admission.promised, admission.waiting]).toEqual([['small'], 320, 2]);
    leave('small');
    await settled();
    // The large one leaves no room beside it.
    expect([inside, admission.promised]).toEqual([['small', 'large'], 960]);
    leave('large');
    await settled();
    expect(inside).toEqual(['small', 'large', 'small too']);
  });

  it('lets go who is aborted, whoever waits behind', async () => {
    const admission = new Admission({ ...limits, memory: 700 });
    const { inside, enter } = entrance(admission);
    const abort = new AbortController();
    void enter('a');
    void enter('large', 1, { ...small, rows: 48 }, abort.signal);
    void enter('b', 2);
    await settled();
    expect(inside).toEqual(['a']);
    abort.abort();
    await settled();
    expect(inside.sort()).toEqual(['a', 'b', 'large: aborted']);
  });

  it('counts lanes of another kind apart', async () => {
    const admission = new Admission(limits);
    for (const kind of ['a', 'a', 'a', 'b']) await admission.enter({ ...small, kind, reading: 5 }, 0);
    expect(admission.promised).toBe(10 * (3 * 32 + 32 + 5));
  });

  it('refuses what could never run, with the numbers', () => {
    const admission = new Admission({ ...limits, lanes: 1, memory: 1e6 });
    expect(() => admission.refuseNever({ ...small, entries: 99_000, rows: 108_000, reading: 2000 })).toThrow(
      'may come to need room for 99000 entries in each layer, and its prompt is read into 2000: 1.1 MB at 10 bytes each, and the engine has 1.0 MB for caches',
    );
  });
});

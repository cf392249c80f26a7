import { describe, expect, it } from 'vitest';
import { openScenesOrFile } from './scenes.js';

describe('scenes', () => {
  it('are held-out ones from 1000, with a description and short questions', async () => {
    const { samples, source } = await openScenesOrFile('scenes', { count: 2 });
    expect(source).toBe('scenes:1000');
    expect(samples.map(({ name }) => name)).toEqual(['scene 1000', 'scene 1001']);
    const [description, ...short] = samples[0]!.tasks;
    expect(description!.reference).toMatch(/^The picture shows /);
    expect(short.every(({ accepted, reference }) => accepted!.length === 1 && !reference)).toBe(true);
    expect((await samples[0]!.image!()).size).toEqual([336, 336]);
    expect((await openScenesOrFile('scenes:1001', { count: 1 })).samples[0]!.tasks).toEqual(
      samples[1]!.tasks,
    );
  });

  it('of the report are others than those for development', async () => {
    const of = async (source: string, split: 'dev' | 'report') =>
      (await openScenesOrFile(source, { count: 2, split })).samples.map(({ name }) => name);
    expect(await of('scenes', 'dev')).toEqual(['scene 1000', 'scene 1001']);
    expect(await of('scenes', 'report')).toEqual(['scene 51000', 'scene 51001']);
    await expect(of('scenes:49999', 'dev')).rejects.toThrow(/with --split seeds are below 50000/);
  });

  it.each(['scenes:', 'scenes:x', 'scenes:-1', 'scenes:99999', 'scenes:1000000'])(
    '"%s" are none',
    async (source) => {
      await expect(openScenesOrFile(source, { count: 2 })).rejects.toThrow(
        /no held-out scenes; their seeds go from 0 to 99999/,
      );
    },
  );
});

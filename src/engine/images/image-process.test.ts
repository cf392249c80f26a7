import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ImageProcess } from './image-process.js';

let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'image-process-'));
});

afterAll(() => rm(directory, { recursive: true }));

/** A process that dies of so many images before it gives one of a pixel; it counts them in a file, since it is another each time. */
async function dyingOf(images: number): Promise<{ process: ImageProcess; asked(): Promise<number> }> {
  const [file, counter] = [join(directory, `${images}.mjs`), join(directory, `${images}.txt`)];
  await writeFile(counter, '');
  await writeFile(
    file,
    `import { appendFileSync, readFileSync } from 'node:fs';
     process.on('message', () => {
       appendFileSync(${JSON.stringify(counter)}, '.');
       if (readFileSync(${JSON.stringify(counter)}, 'utf8').length <= ${images}) process.kill(process.pid, 'SIGKILL');
       process.send({ data: new Uint8Array([1, 2, 3]), width: 1, height: 1 });
     });`,
  );
  const asked = async () => (await readFile(counter, 'utf8')).length;
  return { process: new ImageProcess(100, file), asked };
}

const decoded = ({ process }: { process: ImageProcess }) =>
  process.decode(new Uint8Array(4), 'image 1', new AbortController().signal);

describe('the process that decodes images', () => {
  it('dies once and another decodes the image: it may have been killed', async () => {
    const made = await dyingOf(1);
    expect(await decoded(made)).toMatchObject({ width: 1, height: 1 });
    expect(await made.asked()).toBe(2);
    made.process.end();
  });

  it('dies twice of an image, which is refused, and decodes the next', async () => {
    const made = await dyingOf(2);
    await expect(decoded(made)).rejects.toThrow(
      'image 1 brought its decoder down; save it in another format.',
    );
    expect(await made.asked()).toBe(2);
    expect(await decoded(made)).toMatchObject({ width: 1, height: 1 });
    made.process.end();
  });
});

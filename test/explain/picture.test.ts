import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { embedPhoto } from '../../src/explain/drawing/photo.js';
import { drawPicture } from '../../src/explain/picture.js';
import { type Explanation, explainPrompt } from '../../src/explain/prompt/explain-prompt.js';
import { checkPicturePath, writePicture } from '../../src/explain/write-picture.js';
import { createPolicy, loadElastic, readImage } from '../../src/index.js';
import { marked } from './marked.js';

const path = (name: string) => fileURLToPath(new URL(`../../demo-model/${name}`, import.meta.url));
const PATCHES = 576;

let directory: string;
let photo: Awaited<ReturnType<typeof embedPhoto>>;
let elastic: Explanation;
let h2o: Explanation;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'elastic-cache-picture-'));
  const image = await readImage(path('samples/06.png'));
  photo = await embedPhoto(image);
  const loaded = await loadElastic(path('llava-scenes'));
  const question = { images: [image], prompt: 'Describe the image in detail.' };
  elastic = await explainPrompt(loaded, question, { policy: createPolicy('elastic'), budget: 0.2 });
  h2o = await explainPrompt(loaded, question, { policy: createPolicy('h2o'), budget: 0.2 });
  await loaded.model.dispose();
});

afterAll(() => rm(directory, { recursive: true }));

const draw = (explanation: Explanation, layer?: number) =>
  drawPicture(explanation, { photo, title: 'a <title> & more', prompt: 'a "prompt"\u0007', layer });

/** Patches of a layer by what became of them. */
function fates({ tokens, layers }: Explanation, layer: number) {
  const { anchor } = layers[layer]!;
  const places = tokens.flatMap(({ patch }, place) => (patch ? [place] : []));
  const count = (chosen: (place: number, holder: number | null) => boolean) =>
    places.filter((place) => chosen(place, anchor[place]!)).length;
  return {
    stayed: count((place, holder) => holder === place),
    merged: count(
      (place, holder) => holder !== null && holder !== place && tokens[holder]!.patch !== undefined,
    ),
    toText: count((_, holder) => holder !== null && tokens[holder]!.patch === undefined),
    dropped: count((_, holder) => holder === null),
  };
}

describe('the picture of a layer', () => {
  it('marks each patch once in each panel: stayed, merged into a patch or a token of the text', () => {
    const svg = draw(elastic, 2);
    const { stayed, merged, toText, dropped } = fates(elastic, 2);
    expect(stayed).toBeGreaterThan(90);
    expect(toText).toBeGreaterThan(0);
    expect(marked(svg, 'anchor')).toBe(2 * stayed);
    expect(marked(svg, 'gone')).toBe(PATCHES - stayed);
    expect(marked(svg, 'merged')).toBe(merged);
    expect(marked(svg, 'to-text')).toBe(toText);
    expect(marked(svg, 'heat')).toBe(PATCHES);
    expect(dropped + marked(svg, 'dropped')).toBe(0);
    expect(svg).toContain(`${stayed} of ${PATCHES} patches`);
    expect(svg).toContain(
      `${elastic.layers[2]!.held} of ${elastic.tokens.length} prompt tokens held in this layer`,
    );
  });

  it('marks what a policy drops', () => {
    const svg = draw(h2o, 0);
    const { stayed, dropped } = fates(h2o, 0);
    expect(marked(svg, 'dropped')).toBe(dropped);
    expect(marked(svg, 'anchor')).toBe(2 * stayed);
    expect(marked(svg, 'merged') + marked(svg, 'to-text')).toBe(0);
    expect(svg).toContain('veiled: dropped');
    expect(svg).not.toContain('tinted');
  });

  it('lists the tokens of the text, those that stayed apart from the others', () => {
    const svg = draw(elastic, 1);
    const { anchor } = elastic.layers[1]!;
    const text = elastic.tokens.flatMap(({ patch }, place) => (patch ? [] : [place]));
    const stayed = text.filter((place) => anchor[place] === place).length;
    expect(svg.match(/class="chip stayed"/g)).toHaveLength(stayed);
    expect(svg.match(/class="chip gone"/g)).toHaveLength(text.length - stayed);
    expect(svg.match(/class="image"/g)).toHaveLength(1);
    for (const word of ['Describe', 'detail', 'ASSISTANT']) expect(svg).toContain(`>${word}</text>`);
  });
});

describe('the picture of all layers', () => {
  it('has each layer, how often each patch stayed and what it received', () => {
    const svg = draw(elastic);
    const all = elastic.layers.map(({ layer }) => fates(elastic, layer));
    const sum = (name: 'stayed' | 'merged' | 'toText') => all.reduce((total, each) => total + each[name], 0);
    expect(marked(svg, 'anchor')).toBe(sum('stayed'));
    expect(marked(svg, 'merged')).toBe(sum('merged'));
    expect(marked(svg, 'to-text')).toBe(sum('toText'));
    expect(marked(svg, 'heat')).toBe(2 * PATCHES);
    for (const { layer, held } of elastic.layers) expect(svg).toContain(`>layer ${layer}: ${held} held<`);
  });

  it('shows what the crop cut away as such', () => {
    const grids = [{ ...elastic.grids[0]!, box: { x: 40, y: 0, width: 250, height: 336 } }];
    expect(draw({ ...elastic, grids }).match(/class="unseen"/g)).toHaveLength(2);
    expect(draw(elastic)).not.toContain('class="unseen"');
  });
});

describe('the file', () => {
  it('is well-formed SVG that stands alone, whatever the texts', async () => {
    for (const svg of [draw(elastic), draw(elastic, 0), draw(h2o, 3)]) {
      // librsvg's parser takes no XML that is not well-formed.
      const { format, width } = await sharp(Buffer.from(svg)).metadata();
      expect({ format, width }).toEqual({ format: 'svg', width: 1200 });
      expect(svg.match(/href="(?!data:image\/jpeg;base64,|#)/)).toBeNull();
    }
    await expect(sharp(Buffer.from(draw(elastic).replace('</svg>', ''))).metadata()).rejects.toThrow();
  });

  it('as PNG is the same page at twice the size', async () => {
    const svg = draw(elastic, 2);
    const file = join(directory, 'layer.PNG');
    await writePicture(file, svg);
    const page = await sharp(Buffer.from(svg)).metadata();
    const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
    expect([info.width, info.height]).toEqual([2 * page.width, 2 * page.height]);
    const colors = new Set<number>();
    for (let at = 0; at < data.length; at += 4 * info.channels) colors.add(data.readUIntBE(at, 3));
    expect(colors.size).toBeGreaterThan(1000);
  });

  it('takes the place of an older one, and leaves nothing beside it', async () => {
    const folder = await mkdtemp(join(directory, 'one-'));
    const file = join(folder, 'page.svg');
    await writePicture(file, '<svg/>');
    await writePicture(file, draw(elastic));
    expect(await readFile(file, 'utf8')).toBe(draw(elastic));
    expect(await readdir(folder)).toEqual(['page.svg']);
  });

  it.each([
    ['page.gif', /page\.gif is neither \.svg nor \.png/],
    ['page', /page is neither \.svg nor \.png/],
    ['nowhere/page.svg', /there is no directory .*nowhere for the picture/],
    ['folder.svg', /folder\.svg is a directory/],
    ['photo.png', /photo\.png would take the place of the image/],
  ])('%s is refused before a model is loaded', async (name, message) => {
    await mkdir(join(directory, 'folder.svg'), { recursive: true });
    const refused = checkPicturePath(join(directory, name), [join(directory, 'photo.png')]);
    await expect(refused).rejects.toThrow(message);
  });

  it('that cannot be written is refused, and nothing is left', async () => {
    const folder = await mkdtemp(join(directory, 'none-'));
    await expect(writePicture(join(folder, 'gone', 'page.svg'), '<svg/>')).rejects.toThrow(
      /page\.svg cannot be written \(ENOENT: no such file or directory\)/,
    );
    expect(await readdir(folder)).toEqual([]);
    // It is a folder, and takes no file.
    if (process.platform === 'linux')
      await expect(checkPicturePath('/proc/page.svg', [])).rejects.toThrow('page.svg cannot be written (');
  });
});

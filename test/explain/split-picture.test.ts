import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { drawPicture } from '../../src/explain/picture.js';
import type { Explanation, PromptToken } from '../../src/explain/prompt/explain-prompt.js';
import type { PatchGrid } from '../../src/explain/prompt/patch-grid.js';
import { marked } from './marked.js';

const box = { x: 0, y: 0, width: 90, height: 60 };
const tiles: PatchGrid = { rows: 2, columns: 4, box, tiles: { rows: 1, columns: 2, gap: 0.5 } };
const whole: PatchGrid = { rows: 2, columns: 2, box };

const word = (text: string): PromptToken => ({ id: 1, text });
const patch = (grid: number, row: number, column: number): PromptToken => ({
  id: -4,
  text: '',
  patch: { grid, row, column },
});
const separator: PromptToken = { id: -4, text: '', patch: null };

// 0: a word; 1 to 4: a line of the tiles, 5: its end; 6 to 9: another, 10: its end; 11: between; 12, 13: a line of the whole,
// 14: its end; 15, 16: another, 17: its end; 18: a word.
const tokens = [
  word('before'),
  ...[0, 1, 2, 3].map((column) => patch(0, 0, column)),
  separator,
  ...[0, 1, 2, 3].map((column) => patch(0, 1, column)),
  separator,
  separator,
  ...[0, 1].map((column) => patch(1, 0, column)),
  separator,
  ...[0, 1].map((column) => patch(1, 1, column)),
  separator,
  word('after'),
];

const anchors = {
  // Of the tiles: 1 and 9 stayed, 2 and 3 went into 1, 4 and 6 into a separator, 7 into the whole, 8 is gone. Of the whole: 15
  // stayed, 12 and 13 went into the tiles, 16 into a word.
  everywhere: [0, 1, 1, 1, 5, 5, 5, 15, null, 9, 9, 9, 9, 9, 15, 15, 18, 18, 18],
  all: tokens.map((_, token) => token),
};

function explained(...layers: (readonly (number | null)[])[]): Explanation {
  return {
    queries: tokens.length,
    tokens,
    grids: [tiles, whole],
    layers: layers.map((anchor, layer) => ({
      layer,
      held: anchor.filter((holder, token) => holder === token).length,
      attention: tokens.map((_, token) => token / 9),
      anchor,
    })),
  };
}

const photo = { width: 90, height: 60, href: 'data:image/jpeg;base64,' };
const draw = (explanation: Explanation, layer?: number) =>
  drawPicture(explanation, { photo, title: 'title', prompt: 'prompt', layer });

/** What is drawn of the tiles, and of the whole photo with the text. */
function sectionsOf(svg: string): [tiles: string, whole: string] {
  const [before, first, second, ...more] = svg.split('class="section"');
  expect([marked(before!, 'anchor'), more]).toEqual([0, []]);
  return [first!, second!];
}

const CLASSES = ['anchor', 'gone', 'merged', 'to-other-grid', 'to-text', 'dropped', 'heat'] as const;
const counted = (svg: string) => Object.fromEntries(CLASSES.map((name) => [name, marked(svg, name)]));

describe('a layer of a photo in tiles and whole', () => {
  const svg = draw(explained(anchors.everywhere), 0);
  const [ofTiles, ofWhole] = sectionsOf(svg);

  it('has a title for each', () => {
    expect(ofTiles).toContain('>The photo in 1 x 2 tiles<');
    expect(ofWhole).toContain('>The whole photo<');
  });

  it('marks each patch once in each panel, and apart what went into the other', () => {
    expect(counted(ofTiles)).toEqual({
      anchor: 2 * 2,
      gone: 6,
      merged: 2,
      'to-other-grid': 1,
      'to-text': 2,
      dropped: 1,
      heat: 8,
    });
    expect(counted(ofWhole)).toEqual({
      anchor: 2 * 1,
      gone: 3,
      merged: 0,
      'to-other-grid': 2,
      'to-text': 1,
      dropped: 0,
      heat: 4,
    });
  });

  it('says what went where', () => {
    expect(ofTiles).toContain('>2 of 8 patches<');
    expect(ofTiles).toContain('>2 into a patch here, 3 elsewhere, 1 dropped<');
    expect(ofTiles).toContain('>brown: merged into a patch of the whole photo<');
    expect(ofTiles).toContain('>grey: merged into a separator<');
    expect(ofWhole).toContain('>1 of 4 patches<');
    expect(ofWhole).toContain('>3 elsewhere<');
    expect(ofWhole).toContain('>brown: merged into a patch of the tiles<');
    expect(ofWhole).toContain('>grey: merged into a token of the text<');
  });

  it('leaves the gap between tiles to neither', () => {
    // 4 patches and a gap of half a patch are 90 wide.
    expect(ofTiles).toContain('scale(20 30)');
    expect(ofTiles).toContain('<path class="unseen" d="M2 0h0.5v2h-0.5z"');
    expect(ofTiles).toMatch(/class="dropped"[^>]* d="M2.5 1h1v1h-1z"/);
    expect(ofWhole).not.toContain('class="unseen"');
  });

  it('has the separators, which lie on no grid, as one beside the image', () => {
    expect(svg.match(/class="image"/g)).toHaveLength(1);
    expect(svg).toContain('>⏎ 5 separators<');
    // Token 5 of them, and the five received 5, 10, 11, 14 and 17 where the average token received 9.
    expect(svg).toContain('>1 stayed · 1.3×<');
  });

  it('says of a word in which of them the patch lies that it went into', () => {
    const intoPatch = draw(explained(anchors.all.with(0, 1).with(18, 15)), 0);
    expect(intoPatch).toContain(
      'token 0: merged into token 1, the patch in row 0, column 0 of the photo in 1 x 2 tiles;',
    );
    expect(intoPatch).toContain(
      'token 18: merged into token 15, the patch in row 1, column 0 of the whole photo;',
    );
    const intoSeparator = draw(explained(anchors.all.with(18, 17)), 0);
    expect(intoSeparator).toContain('token 18: merged into token 17, a separator of the image;');
  });

  it('is well-formed', async () => {
    expect((await sharp(Buffer.from(svg)).metadata()).width).toBe(1200);
  });
});

describe('all layers of a photo in tiles and whole', () => {
  const svg = draw(explained(anchors.everywhere, anchors.all));
  const [ofTiles, ofWhole] = sectionsOf(svg);

  it('has each layer of each', () => {
    expect(counted(ofTiles)).toMatchObject({ anchor: 2 + 8, 'to-other-grid': 1, 'to-text': 2, heat: 2 * 8 });
    expect(counted(ofWhole)).toMatchObject({ anchor: 1 + 4, 'to-other-grid': 2, 'to-text': 1, heat: 2 * 4 });
    for (const section of [ofTiles, ofWhole]) expect(section.match(/>layer \d: \d+ held</g)).toHaveLength(2);
    expect(ofTiles).toContain('>2 in all, 0 in none<');
    expect(ofWhole).toContain('>1 in all, 0 in none<');
  });

  it('shows where one tile ends and the next begins', () => {
    expect(ofTiles).toContain('<path class="tile" d="M0 0h2v2h-2zM2.5 0h2v2h-2z"');
    expect(ofWhole).not.toContain('class="tile"');
  });

  it('counts the separators that stayed on average', () => {
    expect(svg).toContain('>3 stayed · 1.3×<');
  });
});

it('what the processor adds around a photo is on the ground of it, and said', () => {
  const around = { ...box, y: -15, height: 90 };
  const padded = {
    ...explained(anchors.all),
    grids: [
      { ...tiles, box: around },
      { ...whole, box: around },
    ],
  };
  const svg = draw(padded, 0);
  expect(svg.match(/<rect class="padding" x="0" y="-15" width="90" height="90"/g)).toHaveLength(6);
  expect(svg.match(/>around the photo: added for the model</g)).toHaveLength(2);
  expect(draw(explained(anchors.all), 0)).not.toContain('class="padding"');
});

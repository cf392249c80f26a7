import { Random } from '../random.js';
import type { Scene, SceneObject, SceneText } from './scene.js';
import { IMAGE_SIZE, type Rgb } from './vocabulary.js';

const rgb = (tone: Rgb) => `rgb(${tone.map((v) => Math.max(0, Math.min(255, Math.round(v)))).join(',')})`;
const scaled = (tone: Rgb, by: number): Rgb => [tone[0] * by, tone[1] * by, tone[2] * by];
const fixed = (value: number) => String(Math.round(value * 10) / 10);
const shifted = (tone: Rgb, by: number): Rgb => [tone[0] + by, tone[1] + by, tone[2] + by];
const isDark = (tone: Rgb) => tone[0] + tone[1] + tone[2] < 330;

const FULL = `width="${IMAGE_SIZE}" height="${IMAGE_SIZE}"`;

function linesPath(random: Random): string {
  const period = random.range(15, 22);
  let path = '';
  for (let y = random.range(0, period) - 20; y < IMAGE_SIZE + 20; y += period * random.range(0.85, 1.15)) {
    path += `M-90 ${fixed(y)}C80 ${fixed(y + random.range(-5, 5))} 260 ${fixed(y + random.range(-5, 5))} 430 ${fixed(y)}`;
  }
  return path;
}

function specksPath(random: Random): string {
  let path = '';
  for (let i = 0; i < 260; i++) {
    path += `M${fixed(random.range(0, IMAGE_SIZE))} ${fixed(random.range(0, IMAGE_SIZE))}h.1`;
  }
  return path;
}

function background(scene: Scene, random: Random): string {
  const { base, style } = scene.background;
  const mark = rgb(shifted(base, isDark(base) ? 34 : -34));
  const ground = `<rect ${FULL} fill="${rgb(base)}"/>`;
  if (style === 'lined') {
    const turn = random.chance(0.5) ? ` transform="rotate(90 168 168)"` : '';
    return `${ground}<path${turn} d="${linesPath(random)}" fill="none" stroke="${mark}" stroke-width="${fixed(random.range(2, 3))}"/>`;
  }
  if (style === 'speckled') {
    return `${ground}<path d="${specksPath(random)}" fill="none" stroke="${mark}" stroke-width="3" stroke-linecap="round"/>`;
  }
  if (style === 'shaded') {
    const flip = random.chance(0.5);
    const light = rgb(shifted(base, isDark(base) ? 42 : 22));
    const dark = rgb(shifted(base, isDark(base) ? -26 : -46));
    return (
      `<linearGradient id="g" x1="0" y1="0" x2="${fixed(random.range(0, 1))}" y2="1">` +
      `<stop stop-color="${flip ? dark : light}"/><stop offset="1" stop-color="${flip ? light : dark}"/>` +
      `</linearGradient><rect ${FULL} fill="url(#g)"/>`
    );
  }
  return ground;
}

/** The second tone over a square of 2 x `reach` px around the origin. */
function texturePath(object: SceneObject, reach: number): string {
  const fill = rgb(object.draw.second);
  const period = { small: 9, medium: 11, large: 14 }[object.size];
  let path = '';
  if (object.texture === 'striped') {
    for (let y = -reach; y <= reach; y += period) path += `M${-reach} ${fixed(y)}h${2 * reach}`;
    return `<path d="${path}" stroke="${fill}" stroke-width="${fixed(period * 0.46)}"/>`;
  }
  if (object.texture === 'dotted') {
    for (let row = -Math.ceil(reach / period); row * period <= reach; row++) {
      const offset = row % 2 === 0 ? 0 : period / 2;
      for (let x = -Math.ceil(reach / period) * period + offset; x <= reach; x += period) {
        path += `M${fixed(x)} ${fixed(row * period * 0.87)}h.1`;
      }
    }
    return `<path d="${path}" stroke="${fill}" stroke-width="${fixed(period * 0.5)}" stroke-linecap="round"/>`;
  }
  const side = period * 0.62;
  const cells = Math.ceil(reach / side);
  for (let row = -cells; row < cells; row++) {
    for (let column = -cells + (((row % 2) + 2) % 2); column < cells; column += 2) {
      path += `M${fixed(column * side)} ${fixed(row * side)}h${fixed(side)}v${fixed(side)}h${fixed(-side)}z`;
    }
  }
  return `<path d="${path}" fill="${fill}"/>`;
}

function object(item: SceneObject, index: number): string {
  const { polygons, centre, base, angle } = item.draw;
  const d = polygons.map((polygon) => `M${polygon.map((point) => point.join(' ')).join('L')}Z`).join('');
  const reach = Math.ceil(Math.max(item.bbox.w, item.bbox.h) * 0.72);
  const edge =
    item.color === 'black' ? ([66, 66, 70] as const) : scaled(base, item.color === 'white' ? 0.55 : 0.62);
  const texture =
    item.texture === 'plain'
      ? ''
      : `<clipPath id="c${index}"><path d="${d}" clip-rule="evenodd"/></clipPath>` +
        `<g clip-path="url(#c${index})"><g transform="rotate(${angle})">${texturePath(item, reach)}</g></g>`;
  return (
    `<g transform="translate(${centre.join(' ')})" fill-rule="evenodd">` +
    `<path d="${d}" transform="translate(3 4)" fill-opacity=".13" stroke="#000" stroke-opacity=".1" stroke-width="3"/>` +
    `<path d="${d}" fill="${rgb(base)}"/>${texture}` +
    `<path d="${d}" fill="url(#s)" stroke="${rgb(edge)}" stroke-width="1.6" stroke-linejoin="round"/></g>`
  );
}

function text(item: SceneText): string {
  const { path, stroke, base } = item.draw;
  return (
    `<path d="${path}" fill="none" stroke="${rgb(base)}" stroke-width="${stroke}" ` +
    `stroke-linecap="round" stroke-linejoin="round"/>`
  );
}

/** The scene as an SVG of paths and gradients: no fonts, no filters, no raster images. */
export function sceneSvg(scene: Scene): string {
  const random = new Random(scene.seed, 2);
  const ground = background(scene, random);
  const items = scene.items.map((item, i) => (item.kind === 'object' ? object(item, i) : text(item)));
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" ${FULL} viewBox="0 0 ${IMAGE_SIZE} ${IMAGE_SIZE}">` +
    `<defs><linearGradient id="s" x1="0" y1="0" x2=".6" y2="1"><stop stop-color="#fff" stop-opacity=".16"/>` +
    `<stop offset=".5" stop-color="#888" stop-opacity="0"/><stop offset="1" stop-opacity=".13"/></linearGradient></defs>` +
    `${ground}${items.join('')}</svg>`
  );
}

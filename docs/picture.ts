/**
 * Draws docs/demo.svg: a bundled scene, and what the embedded model says of it with the full cache and with a fifth of it.
 * Run: npx tsx docs/picture.ts [scene, 1 to 10]
 */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { answer, ElasticCache, loadElastic, readImage } from '../src/index.js';

const number = (process.argv[2] ?? '1').padStart(2, '0');
const demo = (name: string) => fileURLToPath(new URL(`../demo-model/${name}`, import.meta.url));
const image = demo(`samples/${number}.png`);
const loaded = await loadElastic(demo('llava-scenes'));

const question = { images: [await readImage(image)], prompt: 'Describe the image in detail.' };

async function describe(budget: number) {
  const cache = new ElasticCache({ policy: 'elastic-plus', budget });
  const { text } = await answer(loaded, question, { cache, maxNewTokens: 256 });
  const { tokensSeen, tokensHeld, bytesHeld } = cache.stats();
  return { text, cost: `${tokensHeld} of ${tokensSeen} tokens held, ${(bytesHeld / 1e6).toFixed(2)} MB` };
}

const [WIDTH, COLUMN, LINE, CHARACTERS] = [1000, 330, 17, 48];

function wrap(text: string): string[] {
  const lines = [''];
  for (const word of text.split(' ')) {
    const line = `${lines.at(-1)} ${word}`.trim();
    if (line.length > CHARACTERS) lines.push(word);
    else lines[lines.length - 1] = line;
  }
  return lines;
}

const xml = (text: string) => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const columns = [
  { title: 'Full cache', color: '#64748b', ...(await describe(1)) },
  { title: 'elastic-plus, budget 0.2', color: '#0f766e', ...(await describe(0.2)) },
];
const lines = columns.map(({ text }) => wrap(text));
const height = Math.max(340, 96 + LINE * Math.max(...lines.map((column) => column.length)));
const jpeg = await sharp(image).jpeg({ quality: 85 }).toBuffer();

const drawn = columns.map(({ title, color, cost }, i) => {
  const x = 320 + i * (COLUMN + 10);
  const text = lines[i]!.map(
    (line, row) => `<text x="${x}" y="${82 + row * LINE}" fill="#1e293b">${xml(line)}</text>`,
  );
  return `<text x="${x}" y="34" font-size="14.5" font-weight="bold" fill="${color}">${title}</text>
<text x="${x}" y="55" fill="${color}">${cost}</text>
${text.join('\n')}`;
});
const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="ui-sans-serif, system-ui, sans-serif" font-size="12.5">
<title>A scene described with the full cache and with a fifth of it</title>
<rect width="${WIDTH}" height="${height}" rx="10" fill="#f8fafc"/>
<image x="20" y="20" width="280" height="280" href="data:image/jpeg;base64,${jpeg.toString('base64')}"/>
<text x="20" y="322" fill="#64748b">“Describe the image in detail.”</text>
${drawn.join('\n')}
</svg>
`;
await writeFile(new URL('demo.svg', import.meta.url), svg);

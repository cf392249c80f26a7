/** Writes docs/json.md from the schemas of the command line: npx tsx docs/json.ts */
import { writeFile } from 'node:fs/promises';
import { jsonPage } from '../src/cli/results/json-page.js';

await writeFile(new URL('json.md', import.meta.url), jsonPage());

import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { codeBlocks, readme } from './readme.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What the compiler says of each of some files that stand beside package.json and import the package by its name, as it was built. */
function complaints(sources: readonly string[], resolution: ts.CompilerOptions): string[][] {
  const options = {
    ...resolution,
    target: ts.ScriptTarget.ES2022,
    types: [],
    strict: true,
    skipLibCheck: true,
    noEmit: true,
  };
  const files = new Map(sources.map((source, i) => [`${root}sample-${i}.ts`, source]));
  const host = ts.createCompilerHost(options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => files.has(name) || fileExists(name);
  host.getSourceFile = (name, version, ...rest) => {
    const source = files.get(name);
    return source === undefined
      ? getSourceFile(name, version, ...rest)
      : ts.createSourceFile(name, source, version);
  };
  const program = ts.createProgram([...files.keys()], options, host);
  return [...files.keys()].map((name) =>
    ts
      .getPreEmitDiagnostics(program, program.getSourceFile(name))
      .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n')),
  );
}

const taking = (options: string) => `import { embeddedModel, loadElastic } from 'elastic-cache';
const { model } = await loadElastic(embeddedModel());
export const ids: number[] = (await model.generate(${options})).dims;`;

const right = [...codeBlocks('ts'), taking('{}'), taking('{ return_dict_in_generate: false }')];
const wrong = [
  `import { ElasticCache } from 'elastic-cache';\nnew ElasticCache({ policy: 'snapvk' });`,
  taking('{ return_dict_in_generate: true }'),
];

describe("README's samples, and generate() with what it returns, under strict", () => {
  it.each([
    ['nodenext', { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext }],
    ['bundler', { module: ts.ModuleKind.ESNext, moduleResolution: ts.ModuleResolutionKind.Bundler }],
  ])('compile as resolved by %s', (_name, resolution) => {
    const found = complaints([...right, ...wrong], resolution);
    expect(right.length).toBeGreaterThan(2);
    expect(found.slice(0, right.length)).toEqual(right.map(() => []));
    const [policy, output] = found.slice(right.length);
    expect(policy).toEqual([expect.stringContaining('"snapvk"')]);
    expect(output).toHaveLength(1);
  });
});

describe('what README links to', () => {
  const links = [...readme.matchAll(/\]\((?!https?:|#)([^)#]+)/g)].map((match) => match[1]!);
  const { files } = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as { files: string[] };

  it.each(links)('is there, and in the package: %s', (link) => {
    expect(existsSync(`${root}${link}`)).toBe(true);
    const packed = files.some((file) => {
      const pattern = file.replaceAll('.', '\\.').replaceAll('*', '[^/]*');
      return new RegExp(`^${pattern}(/|$)`).test(link);
    });
    expect(packed).toBe(true);
  });
});

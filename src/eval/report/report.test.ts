import { describe, expect, it } from 'vitest';
import { createPolicy } from '../../policies/registry.js';
import { type Cell, cellsOf } from '../cells.js';
import { STRICT } from '../data/protocol.js';
import type { ResultLine } from '../results.js';
import { summarise } from '../summary.js';
import { latencyChart, qualityChart } from './charts.js';
import { csv } from './csv.js';
import { markdownTables } from './markdown.js';
import { paperTables } from './paper-tables.js';

const policies = (...names: string[]) => names.map((name) => createPolicy(name));
const budget = (share: number) => ({ name: String(share), budget: share });
const cells = cellsOf(policies('full', 'h2o', 'elastic:distance=-9'), [budget(0.2), budget(0.5)]);

/** Surprise of 10 tokens: ln 2 a token with the full cache, ln 4 at 0.5, ln 8 at 0.2. */
function lineOf(sample: string, { policy, budget }: Cell): ResultLine {
  const bits = policy === 'full' ? 1 : budget.name === '0.5' ? 2 : 3;
  return {
    sample,
    task: 'description',
    policy,
    budget: budget.name,
    text: 'a',
    tokensHeld: 100 * Number(budget.name),
    tokensSeen: 100,
    perplexity: { nats: 10 * bits * Math.log(2), tokens: 10 },
    rouge: { rouge1: 1 / bits, rouge2: 0.5 / bits, rougeL: 1 / bits },
  };
}

const shape = { lengths: { prompt: 1024, output: 512 }, batch: 4 };
const answers = ['a', 'b', 'c'].flatMap((sample) => cells.map((cell) => lineOf(sample, cell)));
const judged = (sample: string, task: string, right: boolean, cell = cells[1]!) => ({
  ...lineOf(sample, cell),
  task,
  perplexity: undefined,
  rouge: undefined,
  right,
});
const verdicts = [true, true, false, true].map((right, index) => judged(`${index}`, 'question', right));
const timed = cells.flatMap((cell) =>
  [2, 4, 9].map((msPerToken, index) => ({
    sample: String(index),
    task: 'latency 1024+512 x 4',
    policy: cell.policy,
    budget: cell.budget.name,
    latency: {
      batch: 4,
      promptTokens: 1024,
      newTokens: 512,
      prefillMs: 2500,
      msPerToken,
      bytesHeld: 2e6,
      bytesPeak: 3e6,
    },
  })),
);

describe('a summary', () => {
  const { quality, latency } = summarise([...answers, ...verdicts, ...timed], cells, [shape]);

  it('has a row for each cell, the full cache once and first', () => {
    expect(quality.map((row) => [row.policy, row.budget, row.held])).toEqual([
      ['full', '1', 1],
      ['h2o', '0.2', expect.closeTo(0.2)],
      ['h2o', '0.5', 0.5],
      ['elastic:distance=-9', '0.2', expect.closeTo(0.2)],
      ['elastic:distance=-9', '0.5', 0.5],
    ]);
  });

  it('has the perplexity over all tokens, its multiple of the full cache, and the means of ROUGE', () => {
    const [full, small] = quality;
    const near = (value: number) => ({
      value: expect.closeTo(value),
      low: expect.closeTo(value),
      high: expect.closeTo(value),
    });
    expect(full).toMatchObject({ answers: 3, perplexity: near(2), timesFull: near(1), rougeL: near(1) });
    expect(small).toMatchObject({
      perplexity: near(8),
      meanPerplexity: near(8),
      timesFull: near(4),
      rouge2: near(1 / 6),
    });
  });

  it('has the short answers where there are any', () => {
    expect(quality[1]!.accuracy).toMatchObject({ value: 0.75, right: 3, total: 4 });
    expect(quality[0]!.accuracy).toBeUndefined();
  });

  it('draws samples again, not the questions about one, and compares with the same questions', () => {
    const lines = ['a', 'b', 'c', 'd'].flatMap((sample, index) =>
      ['1', '2', '3', '4'].flatMap((task) => [
        judged(sample, task, index > 0, cells[0]),
        judged(sample, task, index > 1),
      ]),
    );
    const rows = summarise(lines, cells, []).quality;
    // Four questions about each of four texts say no more than four: Wilson's interval of 8 of 16 is [0.28, 0.72].
    expect(rows[1]!.accuracy).toMatchObject({ value: 0.5, low: 0, high: 1, total: 16 });
    expect(rows[1]!.accuracyOfFull).toMatchObject({ value: expect.closeTo(2 / 3), low: 0, high: 1 });
    expect(rows[0]!.accuracyOfFull).toMatchObject({ value: 1, low: 1, high: 1 });
    // All alike: drawing again says nothing, and four texts are what is counted.
    const all = summarise(
      lines.map((line) => ({ ...line, right: true })),
      cells,
      [],
    ).quality;
    expect(all[1]!.accuracy).toMatchObject({ value: 1, low: expect.closeTo(0.51, 2), high: 1, total: 16 });
    const none = lines.map((line) => ({ ...line, right: line.policy !== 'full' }));
    expect(summarise(none, cells, []).quality[1]!.accuracyOfFull).toBeUndefined();
  });

  it('has ROUGE against the true answer, and as a multiple of the full cache', () => {
    const scored = answers.map((line) => ({ ...line, rougeTrue: line.rouge }));
    const row = summarise(scored, cells, []).quality[1]!;
    expect(row.trueRouge2).toMatchObject({ value: expect.closeTo(1 / 6) });
    expect(row.trueRougeLOfFull).toMatchObject({ value: expect.closeTo(1 / 3) });
    expect(markdownTables({ quality: [row], latency: [] })).toContain('| ROUGE-L, true ');
    expect(csv({ quality: [row], latency: [] })).toMatch(/\nh2o,0\.2,,trueRougeLOfFull,0\.333\d+,/);
    expect(qualityChart({ quality: [{ ...row, policy: 'h2o' }], latency: [] })).toContain('true answer');
  });

  it('has the medians of what was timed', () => {
    expect(latency).toHaveLength(cells.length);
    expect(latency[0]).toMatchObject({ shape: '1024+512 x 4', runs: 3, promptTokens: 1024, bytesPeak: 3e6 });
    expect(latency[0]!.msPerToken).toEqual({ value: 4, low: 2, high: 9 });
    expect(latency[0]!.tokensPerSecond.value).toBe(1000);
  });

  it('has the shapes that were asked for, in their order, and no others', () => {
    const own = { lengths: undefined, batch: 1 };
    const both = [...timed, ...timed.map((line) => ({ ...line, task: 'latency own' }))];
    const shapes = (asked: (typeof own | typeof shape)[]) =>
      new Set(summarise(both, cells, asked).latency.map((row) => row.shape));
    expect([...shapes([own])]).toEqual(['own']);
    expect([...shapes([own, shape])]).toEqual(['own', '1024+512 x 4']);
    expect([...shapes([])]).toEqual([]);
  });
});

describe('reports', () => {
  const summary = summarise([...answers, ...verdicts, ...timed], cells, [shape]);

  it('are tables of what was measured, in Markdown', () => {
    const text = markdownTables(summary);
    expect(text).toMatch(/\| h2o +\| 0\.2 +\| 20\.0% +\| 8\.000 \[8\.000, 8\.000\] \| 4\.000 /);
    expect(text).toMatch(/\| 75\.0% \[30\.1%, 95\.4%\] \|\n/);
    expect(text).toMatch(
      /\| 1024\+512 x 4 +\| full +\| 1 +\| 4\.00 \[2\.00, 9\.00\] \| 1000 \[444, 2000\] \| 2500 /,
    );
    expect(text).not.toContain('came after');
    expect(markdownTables({ ...summary, protocol: { ...STRICT, question: 'unknown' } })).toContain(
      'short ones; each question came after the cache was compressed.',
    );
    const near = summarise(timed, cells, [shape]);
    near.latency[0]!.msPerToken = { value: 999.6, low: 0.05, high: 9996 };
    expect(markdownTables(near)).toContain('1000 [0.0500, 9996]');
    const alone = markdownTables(summarise(timed, cells, [shape]));
    expect(alone).not.toContain('perplexity');
    expect(alone.startsWith('| prompt+output')).toBe(true);
  });

  it("are the paper's tables with what was published beside it, and a dash where the run has nothing", () => {
    const row = { ...summary.quality[1]!, policy: 'elastic', budget: '0.5' };
    const text = paperTables({ quality: [row], latency: summary.latency }, 'a model');
    expect(text).toMatch(/\| fixed point +\| 3\.60 +\| elastic +\| [\d.]+ \[/);
    expect(text).toMatch(/\| evicted +\| 3\.68 +\| elastic-evict +\| - +\|/);
    expect(text).toMatch(/\| this run +\| 1024\+512 x 4 +\| h2o 0\.2 /);
    expect(text).toMatch(/\| elastic +\| 0\.5 +\| 6\.31 +\| [\d.]+ \[/);
    expect(paperTables({ quality: [], latency: [] }, 'a model')).toMatch(/\| this run +\| - /);
  });

  it('are CSV with a measure a line', () => {
    const [head, ...lines] = csv(summary).trimEnd().split('\r\n');
    expect(head).toBe('policy,budget,shape,metric,value,low,high,samples');
    expect(lines).toContainEqual(expect.stringMatching(/^h2o,0\.2,,accuracy,0\.75,0\.300\d+,0\.954\d+,4$/));
    expect(lines).toContainEqual(expect.stringMatching(/^h2o,0\.2,,held,0\.\d+,,,7$/));
    expect(lines.every((line) => line.split(',').length === 8)).toBe(true);
    expect(lines.filter((line) => line.startsWith('full,1,1024+512 x 4,msPerToken,4,2,9,3'))).toHaveLength(1);
  });

  it('are charts of what was measured', () => {
    const quality = qualityChart(summary)!;
    for (const word of ['<svg', 'Perplexity', 'ROUGE-L', 'elastic:distance=-9', 'h2o'])
      expect(quality).toContain(word);
    expect(latencyChart(summary)).toContain('Milliseconds per token, 1024+512 x 4');
    for (const [budgets, drawn] of [
      [[0.2], 1],
      [[0.2, 0.5], 1],
      [[], 0],
    ] as const) {
      const shown = cellsOf(policies('h2o'), budgets.map(budget));
      const chart = qualityChart(summarise(answers, shown, [])) ?? '';
      // The full cache is drawn across, whatever the budgets; with nothing to compare it to there is no chart.
      expect(chart.match(/<path class="full"/g) ?? []).toHaveLength(2 * drawn);
    }
    expect(qualityChart({ quality: [], latency: [] })).toBeUndefined();
    expect(latencyChart({ quality: [], latency: [] })).toBeUndefined();
  });

  it.each([
    [['0.3', '256tokens', '1mb'], 0],
    [['0.3', '256tokens', '0.5', '1mb'], 1],
    [['0.3', '256tokens', '0.5', '1mb', '512tokens', '1gb'], 3],
    [['256tokens', '512tokens'], 1],
    [['0.5', '0.3'], 1],
  ])('join %j by %i lines: none between kinds of budgets', (budgets, lines) => {
    const names = budgets.map((name) => ({ name, budget: 1 }));
    const shown = cellsOf(policies('h2o'), names);
    const summary = summarise(
      shown.map((cell) => ({ ...lineOf('a', cell), tokensHeld: 50, rouge: undefined })),
      shown,
      [],
    );
    // The line of a point alone comes to no place.
    const drawn = qualityChart(summary)!.match(/<path class="line" d="M[^"]+L[^"]+"/g) ?? [];
    expect(drawn).toHaveLength(lines);
  });
});

import { describe, expect, it } from 'vitest';
import {
  parseBatchSizes,
  parseBudgetRanges,
  parseBudgets,
  parseLengths,
  parseMetrics,
  parsePolicies,
} from './option-values.js';

const names = (value: string) => parseBudgetRanges(value).map(({ name }) => name);

describe('the options of eval', () => {
  it('takes ranges of budgets, in steps of 0.1 unless told, each budget once', () => {
    expect(names('0.1..0.4')).toEqual(['0.1', '0.2', '0.3', '0.4']);
    expect(names('0.05,0.1..0.5:0.2,0.3,64mb')).toEqual(['0.05', '0.1', '0.3', '0.5', '64mb']);
    expect(names('.7..1')).toEqual(['0.7', '0.8', '0.9', '1']);
    expect(parseBudgetRanges('0.20:0128tokens, 0.5')).toMatchObject([
      { name: '0.2:128tokens', budget: { share: 0.2, tokens: 128 } },
      { name: '0.5', budget: 0.5 },
    ]);
    for (const wrong of ['0.2:64mb', '64tokens:0.2', '0.2:8tokens:9tokens', '0.2:', ':8tokens'])
      expect(() => parseBudgets(wrong)).toThrow(/^budget "[^"]*" is none: give .*\.$/);
    expect(parseBudgetRanges('0.1..0.3').map(({ budget }) => budget)).toEqual([0.1, 0.2, 0.3]);
  });

  it.each(['0..0.5', '0.5..0.1', '0.5..1.1', '0.1..0.5:0', '0.1..', '0.1..64mb', '0.1...0.5'])(
    'refuses the range %s',
    (value) => {
      expect(() => parseBudgetRanges(value)).toThrow(`budgets "${value}" are no range`);
    },
  );

  it('keeps what a policy was given of its own', () => {
    expect(parsePolicies('elastic, elastic:endSize=8 ,full,elastic')).toEqual([
      'elastic',
      'elastic:endSize=8',
      'full',
    ]);
  });

  it('takes lengths and metrics', () => {
    expect(parseLengths('own,1024+512')).toEqual([undefined, { prompt: 1024, output: 512 }]);
    expect(() => parseLengths('1024+1')).toThrow('--lengths "1024+1" is none');
    expect(parseMetrics('latency,ppl')).toEqual(['latency', 'ppl']);
  });

  it('takes what is named twice once: it would be measured twice', () => {
    expect(parseLengths('own,64+8,own')).toEqual([undefined, { prompt: 64, output: 8 }]);
    expect(parseLengths('64+8,064+8')).toEqual([{ prompt: 64, output: 8 }]);
    expect(parseBatchSizes('1,4,1,04')).toEqual([1, 4]);
    expect(names('0.2,0.20,.2,0.1..0.2,64mb,64MB,64000kb,8tokens,08tokens')).toEqual([
      '0.2',
      '0.1',
      '64mb',
      '8tokens',
    ]);
    expect(parseBudgets('1,0.5,1.0').map(({ name }) => name)).toEqual(['1', '0.5']);
    // The same budget has one name, by which an earlier run's results are found.
    expect(names('0.20')).toEqual(names('.2'));
    expect(parseMetrics('ppl,rouge,ppl')).toEqual(['ppl', 'rouge']);
  });
});

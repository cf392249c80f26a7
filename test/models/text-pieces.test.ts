import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Detokenizer } from '../../src/models/generation/detokenizer.js';
import { StopStrings } from '../../src/models/generation/stop-strings.js';
import { byteLevel, sentencePiece } from '../tokenizers.js';

const tokenizers = {
  'byte-level': byteLevel(),
  'sentencepiece, ▁ first': sentencePiece(),
  'sentencepiece, ▁ everywhere': sentencePiece([], { everywhere: true }),
};

/** Text as it comes in conversations: words, lines, indentation, several scripts, emoji of many code points. */
const texts = fc
  .array(
    fc.constantFrom(
      'the',
      ' a',
      'in',
      ' ',
      '  ',
      '\n',
      '\n\n',
      '.',
      ' U',
      'é',
      'ж',
      '漢字',
      '👩‍👩‍👧',
      '🙂',
      'हिन्दी',
      '\t',
      '</s>',
      '1',
    ),
    { maxLength: 20 },
  )
  .map((parts) => parts.join(''));

describe.each(Object.entries(tokenizers))('tokens of %s read one by one', (_, tokenizer) => {
  it('give the text of all of them, whole characters only', () => {
    fc.assert(
      fc.property(texts, (text) => {
        const tokens = tokenizer.encode(text);
        const reader = new Detokenizer(tokenizer);
        const pieces = tokens.map((token) => reader.push(token));
        expect(pieces.join('')).not.toContain('\uFFFD');
        const all = tokens.length > 0 ? tokenizer.decode(tokens, { skip_special_tokens: true }) : '';
        expect(pieces.join('') + reader.end()).toBe(all);
      }),
    );
  });

  it('give what there is of a character that ends too soon', () => {
    const reader = new Detokenizer(tokenizer);
    const tokens = tokenizer.encode('a 🙂', { add_special_tokens: false }).slice(0, -1);
    const text = tokens.map((token) => reader.push(token)).join('');
    expect(text.trim()).toBe('a');
    expect(reader.end()).toContain('\uFFFD');
  });
});

describe('stop strings', () => {
  /** Few letters, so that strings overlap themselves and each other. */
  const few = (minLength: number, maxLength: number) =>
    fc.string({ unit: fc.constantFrom('a', 'b'), minLength, maxLength });

  it('end a text where the first one that is complete begins, in whatever pieces it comes', () => {
    fc.assert(
      fc.property(
        fc.array(few(1, 4), { maxLength: 8 }),
        fc.array(few(1, 4), { minLength: 1, maxLength: 3 }),
        (pieces, stops) => {
          const finder = new StopStrings(stops);
          let out = '';
          let read = '';
          for (const piece of pieces) {
            read += piece;
            out += finder.push(piece);
            if (finder.found !== undefined) break;
            // What is out can no longer be the beginning of one.
            expect(stops.some((stop) => read.includes(stop))).toBe(false);
          }
          out += finder.end();
          const first = Math.min(...stops.map((stop) => read.indexOf(stop)).filter((at) => at >= 0));
          expect(out).toBe(read.slice(0, first));
          expect(finder.found !== undefined).toBe(Number.isFinite(first));
        },
      ),
    );
  });

  it('hold back no more than they must', () => {
    const finder = new StopStrings(['\nUser:']);
    expect(['Red.', '\n', 'U', 'gly\nUs', 'er', ': more'].map((piece) => finder.push(piece))).toEqual([
      'Red.',
      '',
      '',
      '\nUgly',
      '',
      '',
    ]);
    expect([finder.found, finder.end()]).toEqual(['\nUser:', '']);
  });
});

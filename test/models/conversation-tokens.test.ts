import type { PreTrainedTokenizer } from '@huggingface/transformers';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nextInputs } from '../../src/models/conversation/next-inputs.js';
import { type Inputs, prepareInputs } from '../../src/models/conversation/prepare-inputs.js';
import { nextTurnText, promptText } from '../../src/models/conversation/template/prompt-text.js';
import type { LoadedModel } from '../../src/models/loaded-model.js';
import {
  CHATML_TEXT,
  GEMMA,
  LLAMA_2,
  LLAMA_3,
  LLAVA,
  MISTRAL,
  PHI,
  QWEN_3,
  QWEN_VL,
  SMOLVLM,
} from '../families/chat-templates.js';
import { byteLevel, sentencePiece } from '../tokenizers.js';

/** Templates with the token that ends an answer in each; '' where a template does not say. */
const TEMPLATES: Record<string, [template: string | undefined, end: string]> = {
  'ChatML, texts': [CHATML_TEXT, '<|im_end|>'],
  'Qwen3, which drops reasoning': [QWEN_3, '<|im_end|>'],
  'Qwen2-VL': [QWEN_VL, '<|im_end|>'],
  SmolVLM: [SMOLVLM, '<end_of_utterance>'],
  'Gemma, which strips spaces': [GEMMA, '<end_of_turn>'],
  Phi: [PHI, '<|end|>'],
  'LLaVA, which ends no answer': [LLAVA, ''],
  'Llama 2, with system prompts inside the first turn': [LLAMA_2, '</s>'],
  'Llama 3, which strips spaces': [LLAMA_3, '<|eot_id|>'],
  'Mistral, which insists on turns': [MISTRAL, '</s>'],
  'a template of one turn': [`{{ '<s>Q: ' + messages[0]['content'] + '\nA:' }}`, '</s>'],
  none: [undefined, '</s>'],
};

const SPECIAL = [
  ...new Set(
    Object.values(TEMPLATES).flatMap(([template, end]) => [
      ...(template?.match(/<\|\w+\|>|<\w+_of_\w+>/g) ?? []),
      end,
    ]),
  ),
].filter((token) => token && token !== '</s>');

const TOKENIZERS: Record<string, (chat_template: string | undefined) => PreTrainedTokenizer> = {
  'byte-level': (chat_template) => byteLevel(SPECIAL, { chat_template }),
  'sentencepiece, ▁ first': (chat_template) => sentencePiece(SPECIAL, { chat_template }),
  'sentencepiece, ▁ everywhere': (chat_template) =>
    sentencePiece(SPECIAL, { chat_template, everywhere: true }),
};

/** As much of a loaded model as texts and tokens ask for. */
function textsOf(tokenizer: PreTrainedTokenizer): LoadedModel {
  return { tokenizer, processor: {}, model: { config: { model_type: 'llava' } } } as unknown as LoadedModel;
}

/** What models and users say: spaces at the ends, lines, reasoning, several scripts, tokens that merge with what follows. */
const said = fc
  .array(
    fc.constantFrom(
      'the',
      ' a',
      'in',
      ' ',
      '\n',
      '.',
      ':',
      ' U',
      'é',
      '漢',
      '🙂',
      '<think>',
      '</think>',
      '"type": ',
      '1',
    ),
    { maxLength: 8 },
  )
  .map((parts) => parts.join(''));
const asked = said.map((text) => `x${text}x`);

const idsOf = ({ input_ids }: Inputs) => Array.from(input_ids.data as BigInt64Array, Number);

describe.each(Object.entries(TOKENIZERS))('%s', (_, tokenizerFor) => {
  it.each(Object.entries(TEMPLATES))(
    '%s: each prompt begins with what the model has seen, and goes on with the words of the turn',
    async (_name, [template, end]) => {
      const loaded = textsOf(tokenizerFor(template));
      const { tokenizer } = loaded;
      const decode = (tokens: number[]) => tokenizer.decode(tokens, { skip_special_tokens: false });
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(asked, said), { minLength: 1, maxLength: 4 }),
          fc.option(asked, { nil: undefined }),
          async (turns, system) => {
            let inputs = await prepareInputs(loaded, { images: [], prompt: turns[0]![0], system });
            expect(decode(idsOf(inputs))).toContain(turns[0]![0]);
            if (system !== undefined) expect(decode(idsOf(inputs))).toContain(system);
            for (const [index, [, answer]] of turns.entries()) {
              const prompt = turns[index + 1]?.[0] ?? 'and then';
              // A model may say tokens that nobody would encode its text as.
              const tokens = [...answer].flatMap((letter) =>
                tokenizer.encode(letter, { add_special_tokens: false }),
              );
              const next = await nextInputs(loaded, inputs, { tokens, rest: '' }, { images: [], prompt });
              const seen = [...idsOf(inputs), ...tokens];
              expect(idsOf(next).slice(0, seen.length)).toEqual(seen);
              const turn = idsOf(next).slice(seen.length);
              expect(next.attention_mask).toMatchObject({ dims: [1, seen.length + turn.length] });
              const text = nextTurnText(loaded, { images: 0, prompt });
              // Behind an anchor, since a tokenizer reads the beginning of a text differently; spaces that such a tokenizer puts behind special tokens aside.
              const anchor = tokenizer.encode('a', { add_special_tokens: false });
              expect(spaced(decode([...anchor, ...turn]))).toBe(spaced(`a${text}`));
              expect(text.startsWith(end)).toBe(true);
              expect(text).toContain(prompt);
              // A tokenizer's own beginning comes once.
              const begins = turn.includes(tokenizer.convert_tokens_to_ids('<s>'));
              expect(begins).toBe(text.includes('<s>'));
              inputs = next;
            }
          },
        ),
        { numRuns: 8 },
      );
    },
  );
});

const spaced = (text: string) => text.replaceAll(/(<[^<>]*>) /g, '$1');

it('a system prompt comes where the template has a place for it, else before the first turn', () => {
  const first = (template: string | undefined) =>
    promptText(textsOf(byteLevel(SPECIAL, { chat_template: template })), 0, 'Who?', 'Be brief.');
  expect(first(CHATML_TEXT)).toBe(
    '<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n',
  );
  expect(first(QWEN_VL)).toContain('<|im_start|>system\nBe brief.<|im_end|>');
  expect(first(LLAMA_2)).toBe('<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWho? [/INST]');
  // It refuses a system prompt.
  expect(first(MISTRAL)).toBe('<s>[INST] Be brief.\n\nWho? [/INST]');
  expect(first(undefined)).toBe('USER: Be brief.\n\nWho? ASSISTANT:');
});

it('an image stands behind what is said before it', () => {
  const asked = (template: string | undefined, type = 'llava', prompt = 'Who?') => {
    const { tokenizer, processor } = textsOf(byteLevel(SPECIAL, { chat_template: template }));
    const loaded = {
      tokenizer,
      processor,
      model: { config: { model_type: type } },
    } as unknown as LoadedModel;
    return promptText(loaded, 1, prompt, undefined, 'Look here:');
  };
  // This template puts the images of a list of parts first, so they are put into the text.
  expect(asked(LLAVA)).toBe('USER: Look here:\n<image>\nWho? ASSISTANT:');
  expect(asked(LLAVA, 'llava', '')).toBe('USER: Look here:\n<image> ASSISTANT:');
  expect(asked(QWEN_VL, 'qwen2_vl')).toContain(
    'user\nLook here:<|vision_start|><|image_pad|><|vision_end|>Who?<|im_end|>',
  );
  expect(asked(CHATML_TEXT)).toContain('user\nLook here:\n<image>\nWho?<|im_end|>');
  expect(asked(undefined)).toBe('USER: Look here:\n<image>\nWho? ASSISTANT:');
});

it('an answer of a template with the word that stands for answers is told from the question', () => {
  const loaded = textsOf(byteLevel(SPECIAL, { chat_template: CHATML_TEXT }));
  const prompt = 'What is ElasticCacheAnswer?';
  expect(nextTurnText(loaded, { images: 0, prompt })).toBe(
    `<|im_end|>\n<|im_start|>user\n${prompt}<|im_end|>\n<|im_start|>assistant\n`,
  );
});

/** How records are shown to a model, and which tokens of an answer count. */
export interface Protocol {
  /**
   * What a cache knows when it is compressed. `known`: the question, which is at the end of the prompt. `unknown`: the image or the text alone; the question is a turn of its own
   * that comes later, as when several are asked about one image.
   */
  readonly question: (typeof QUESTIONS)[number];
  /** What the model is told beforehand, where a record does not say. */
  readonly system?: string | undefined;
  /** Where the image of a record stands that does not say: before the question or after it. */
  readonly imagePlace: (typeof IMAGE_PLACES)[number];
  /** Whether images are padded to a square with the mean colour of the model's processor, whatever that does with them. */
  readonly padImages: boolean;
  /** The answer of a record that has several: the first, or all as they are written, `<OR>` and `<AND>` included. */
  readonly answers: (typeof ANSWERS)[number];
  /** What perplexity judges the first token of an answer by: the cache as it was compressed, or the pass over the prompt, of which nothing has gone then. */
  readonly firstToken: (typeof FIRST_TOKENS)[number];
  /** Whether perplexity counts the last token of an answer. */
  readonly lastToken: (typeof LAST_TOKENS)[number];
}

export const QUESTIONS = ['known', 'unknown'] as const;
export const IMAGE_PLACES = ['before', 'after'] as const;
export const ANSWERS = ['first', 'written'] as const;
export const FIRST_TOKENS = ['compressed', 'prompt'] as const;
export const LAST_TOKENS = ['counted', 'left-out'] as const;

/** What holds unless told. */
export const STRICT: Protocol = {
  question: 'known',
  imagePlace: 'before',
  padImages: false,
  answers: 'first',
  firstToken: 'compressed',
  lastToken: 'counted',
};

/** System prompts of LLaVA's code, by the names of its conversations. */
const conversation = (who: string) =>
  `A chat between a curious ${who} and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the ${who}'s questions.`;
export const SYSTEM_PROMPTS = { llava_v1: conversation('human'), vicuna_v1: conversation('user') } as const;

/** What both published evaluations share: PrefixKV's code goes on from that of Elastic Cache. */
const published: Protocol = {
  question: 'known',
  system: SYSTEM_PROMPTS.llava_v1,
  imagePlace: 'after',
  padImages: true,
  answers: 'written',
  firstToken: 'prompt',
  lastToken: 'counted',
};

/** Protocols of papers, as their released evaluations have them. */
export const PRESETS = {
  /** Liu et al., ECCV 2024 (arXiv 2407.18121): perplexity of all tokens but the last. */
  'elastic-cache': { ...published, lastToken: 'left-out' },
  /** Wang et al., NeurIPS 2025 (arXiv 2412.03409). */
  prefixkv: published,
} as const satisfies Record<string, Protocol>;
export type PresetName = keyof typeof PRESETS;

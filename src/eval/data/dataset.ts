import type { Image } from '../../models/images/read-image.js';
import type { Split } from './split.js';

/** One thing to ask, about an image or a text, or a text to go on with. */
export interface Task {
  /** What it is called in the results: `description`, `question 2`. */
  readonly name: string;
  readonly prompt: string;
  /** What is said before the image, which then stands between this and the prompt; the image comes first without it. */
  readonly before?: string;
  /** Whether the record says where its image stands. */
  readonly placed?: true;
  /** What the model is told beforehand. */
  readonly system?: string;
  /** Words that the answer is begun with: a small model then says what is asked for and nothing else. */
  readonly begun?: string;
  /**
   * The prompt is no question but a long text, without a chat template: the model reads so many tokens of it, and perplexity is measured on
   * those that follow.
   */
  readonly continuation?: { readonly promptTokens: number; readonly tokens: number };
  /** The answer that perplexity is measured on; such a task also counts for ROUGE. */
  readonly reference?: string;
  /** All of the record's answer as it is written, where the reference is a part of it. */
  readonly written?: string;
  /** Right answers for accuracy: an answer is right if it is one of these, or has all parts of one that has several. */
  readonly accepted?: readonly (readonly string[])[];
  /** An answer is right as well that has what is accepted among other words. */
  readonly among?: true;
  /** Longest answer in tokens, where it is known to be short. */
  readonly maxNewTokens?: number;
}

/** An image or a text with what is asked about it. */
export interface Sample {
  /** Unique in its data set. */
  readonly name: string;
  /** The text that is asked about: it comes before each question. */
  readonly context?: string;
  /** Line of its file, from 1, where a record is one. */
  readonly line?: number | undefined;
  readonly tasks: readonly Task[];
  /** None for text alone. @throws ElasticCacheError 'invalid-image' or 'missing-file' */
  image?(): Promise<Image>;
}

/** A record that is no sample, and why. */
export interface BrokenRecord {
  readonly name: string;
  readonly reason: string;
  readonly line?: number | undefined;
}

/** The first records of a data set. */
export interface Dataset {
  /** Tells two data sets apart: what was asked for, and a hash of what it is. */
  readonly source: string;
  readonly fingerprint: string;
  readonly samples: readonly Sample[];
  readonly broken: readonly BrokenRecord[];
}

/** Which records are read, and how. */
export interface DataOptions {
  /** At most so many, the first ones. */
  readonly count: number;
  /** Folder of the images; beside the file or in `images` there unless told. */
  readonly images?: string | undefined;
  /** Tokens that are read of a text that is gone on with, where it does not say itself. */
  readonly promptTokens?: number | undefined;
  /** Only the records of one half; all without it. */
  readonly split?: Split | undefined;
}

/** A record as a format reads it: its image not found yet. */
export interface ParsedRecord {
  readonly name: string;
  /** File name of the image, as the data gives it; none for text alone. */
  readonly image?: string | undefined;
  readonly context?: string | undefined;
  readonly tasks: readonly Task[];
}

import { createInterface, type Interface } from 'node:readline';
import { ElasticCacheError } from '../../errors.js';
import { KVCache } from '../../memory/kv-cache.js';
import { type Chat, type ChatUsage, chat } from '../../models/conversation/chat.js';
import { embeddedModel } from '../../models/embedded.js';
import type { ImageSource } from '../../models/images/image-source.js';
import { readImages } from '../images.js';
import { loadWithProgress, type ModelOptions } from '../load.js';
import type { SamplingOptions } from '../options/command-options.js';
import type { NamedBudget } from '../options/option-values.js';
import { policyOf } from '../options/policy-file.js';
import { CHAT_COMMANDS, readLine } from '../terminal/chat-commands.js';
import { megabytes, milliseconds } from '../terminal/format.js';
import { Progress } from '../terminal/progress.js';
import { Transcript } from '../terminal/transcript.js';
import { version } from '../version.js';

export interface ChatOptions extends ModelOptions, SamplingOptions {
  image: string[];
  system?: string;
  budget: NamedBudget;
  policy: string;
  endSize?: number;
}

/** A conversation by lines of standard input, typed or piped: answers go to stdout, everything else to stderr. */
export async function chatInTerminal(options: ChatOptions): Promise<void> {
  const policy = await policyOf(options.policy, options.endSize);
  const images = await readImages(options.image);
  const model = options.model ?? embeddedModel();
  const loaded = await loadWithProgress(model, options, new Progress());
  const cache = new KVCache({ policy, budget: options.budget.budget });
  const conversation = chat(loaded, { cache, system: options.system });
  const record = new Transcript({
    version: version(),
    model,
    dtype: options.dtype ?? null,
    policy: policy.name,
    budget: options.budget.name,
    system: options.system ?? null,
  });
  const terminal = process.stdin.isTTY === true;
  const lines = createInterface({
    input: process.stdin,
    output: terminal ? process.stderr : undefined,
    terminal,
    prompt: '> ',
  });
  await new Talk(
    conversation,
    options,
    options.image.map((name, at) => ({ name, image: images[at]! })),
    record,
    lines,
    terminal,
  ).run();
  await loaded.model.dispose();
}

class Talk {
  /** Ends the answer that is being given. */
  private answering: AbortController | undefined;
  private usage = 'nothing has been asked yet';

  constructor(
    private readonly conversation: Chat,
    private readonly options: ChatOptions,
    private images: { name: string; image: ImageSource }[],
    private readonly record: Transcript,
    private readonly lines: Interface,
    private readonly terminal: boolean,
  ) {}

  async run(): Promise<void> {
    const onInterrupt = () => this.interrupt();
    // A terminal's Ctrl-C comes as a key, anybody else's as a signal.
    this.lines.on('SIGINT', onInterrupt);
    process.removeAllListeners('SIGINT').on('SIGINT', onInterrupt);
    if (this.terminal) tell('/help lists what there is beside questions.');
    this.prompt();
    for await (const line of this.lines) {
      try {
        if (!(await this.take(line))) break;
      } catch (error) {
        // What is wrong with one question ends no conversation.
        if (!(error instanceof ElasticCacheError)) throw error;
        tell(`error: ${error.message}`);
        if (!this.terminal) process.exitCode = 1;
      }
      this.prompt();
    }
    this.lines.close();
    process.removeListener('SIGINT', onInterrupt);
  }

  private prompt(): void {
    if (this.terminal) this.lines.prompt();
  }

  private interrupt(): void {
    if (!this.answering) process.exit(130);
    this.answering.abort();
    this.answering = undefined;
  }

  /** Does what a line says; false where that is to leave. */
  private async take(text: string): Promise<boolean> {
    const line = readLine(text);
    if (line.kind === 'quit') return false;
    if (line.kind === 'help') tell(CHAT_COMMANDS.trim());
    if (line.kind === 'stats') tell(this.usage);
    if (line.kind === 'reset') this.reset();
    if (line.kind === 'image') {
      const [image] = await readImages([line.path]);
      this.images.push({ name: line.path, image: image! });
    }
    if (line.kind === 'save') {
      await this.record.save(line.path);
      tell(`saved to ${line.path}`);
    }
    if (line.kind === 'question') await this.answer(line.prompt);
    return true;
  }

  private reset(): void {
    this.conversation.reset();
    this.record.reset();
    this.images = [];
    this.usage = 'nothing has been asked yet';
  }

  private async answer(prompt: string): Promise<void> {
    const { maxNewTokens, temperature, topP, topK, seed, stop } = this.options;
    const settings = { maxNewTokens, temperature, topP, topK, seed, stop };
    this.answering = new AbortController();
    const { signal } = this.answering;
    const images = this.images.map(({ image }) => image);
    try {
      for await (const event of this.conversation.ask({ images, prompt, signal, ...settings })) {
        if (event.type === 'text') process.stdout.write(event.text);
        if (event.type === 'usage') this.usage = usageLine(event.usage);
        if (event.type === 'finish') {
          process.stdout.write('\n');
          if (event.reason === 'length') tell('(ended by the longest length)');
          if (event.reason === 'aborted') tell('(stopped)');
          // Images of a question that was answered, if only in part, are part of the conversation.
          if (event.reason === 'aborted' && event.text === '') continue;
          const { text: answer, reason: finishReason } = event;
          this.record.add({ image: this.images.map(({ name }) => name), prompt, answer, finishReason });
          this.images = [];
        }
      }
    } finally {
      this.answering = undefined;
    }
  }
}

function usageLine({
  promptTokens,
  cachedTokens,
  newTokens,
  prefillMs,
  msPerToken,
  stats,
}: ChatUsage): string {
  return [
    `cache   ${stats.tokensHeld} of ${stats.tokensSeen} tokens, ${megabytes(stats.bytesHeld)} (full cache ${megabytes(stats.bytesFull)})`,
    `prompt  ${promptTokens} tokens, ${cachedTokens} of them seen before, read in ${milliseconds(prefillMs)}`,
    `answer  ${newTokens} tokens, ${milliseconds(msPerToken)} each`,
  ].join('\n');
}

function tell(text: string): void {
  process.stderr.write(`${text}\n`);
}

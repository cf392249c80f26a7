import type { Backend } from './backends.js';
import type { Command, Report, Settings, Side } from './messages.js';

/** Where the key is kept while the page is open; /status has it there too. */
const KEY = 'elastic-cache-key';

export function keepKey(key: string): void {
  sessionStorage.setItem(KEY, key);
}

type Part = { type: 'text'; text: string } | { type: 'image_url'; image_url: { url: string } };
interface Message {
  readonly role: 'user' | 'assistant';
  readonly content: string | readonly Part[];
}

/** What a chunk of a streamed answer has of use, as OpenAI's API and this server have it. */
interface Chunk {
  readonly error?: { readonly message: string };
  readonly choices?: readonly [
    { readonly delta: { readonly content?: string }; readonly finish_reason: string | null },
  ];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly elastic?: readonly [
    {
      readonly tokens_seen: number;
      readonly tokens_held: number;
      readonly bytes_held: number;
      readonly bytes_full: number;
      readonly prefill_ms: number | null;
      readonly ms_per_token: number | null;
    },
  ];
}

class NeedsKey extends Error {}

/** Asks the server that the page came from, by OpenAI's API: twice, for a part of the cache and for the whole of it. */
export function serverBackend(hear: (report: Report) => void): Backend {
  let ends = new AbortController();
  /** Messages of both sides, which differ in what was answered. */
  let sides: Record<Side, Message[]> = { part: [], whole: [] };

  async function asked(path: string, body?: object): Promise<Response> {
    const key = sessionStorage.getItem(KEY);
    const response = await fetch(new URL(path, document.baseURI), {
      ...(body && { method: 'POST', body: JSON.stringify(body) }),
      headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
      signal: ends.signal,
    });
    if (response.ok) return response;
    const said = (await response.json().catch(() => undefined)) as Chunk | undefined;
    const message = said?.error?.message ?? `The server answers with ${response.status}.`;
    throw response.status === 401 ? new NeedsKey(message) : new Error(message);
  }

  async function open(): Promise<void> {
    const { data } = (await (await asked('v1/models')).json()) as {
      data: [{ id: string; reads_images: boolean }];
    };
    const [{ id, reads_images }] = data;
    hear({ type: 'opened', readsImages: reads_images, on: { server: id }, layers: 0, loadMs: 0, notes: [] });
  }

  async function ask({
    prompt,
    image,
    newTokens,
    settings,
  }: Extract<Command, { type: 'ask' }>): Promise<void> {
    ends = new AbortController();
    const text = { type: 'text', text: prompt } as const;
    const content = image
      ? [{ type: 'image_url', image_url: { url: await dataUrl(image) } } as const, text]
      : prompt;
    for (const side of ['part', 'whole'] as const) {
      const messages = [...sides[side], { role: 'user', content } as const];
      const answer = await answered(side, messages, newTokens, settings);
      sides[side] = [...messages, { role: 'assistant', content: answer }];
      if (!ends.signal.aborted) continue;
      sides = { part: [], whole: [] };
      return hear({ type: 'done', goesOn: false });
    }
    hear({ type: 'done', goesOn: true });
  }

  async function answered(
    side: Side,
    messages: readonly Message[],
    newTokens: number,
    { policy, budget }: Settings,
  ): Promise<string> {
    hear({ type: 'reading', side });
    let said = '';
    let pieces = 0;
    let first = 0;
    let reason = 'aborted';
    try {
      const response = await asked('v1/chat/completions', {
        messages,
        max_tokens: newTokens,
        stream: true,
        stream_options: { include_usage: true },
        elastic: side === 'whole' ? { policy: 'full', budget: 1 } : { policy, budget },
      });
      for await (const { error, choices, usage, elastic } of chunksOf(response)) {
        if (error) throw new Error(error.message);
        const piece = choices?.[0]?.delta.content ?? '';
        reason = choices?.[0]?.finish_reason ?? reason;
        said += piece;
        if (piece !== '') {
          const now = performance.now();
          if (pieces++ === 0) first = now;
          const perSecond = pieces > 2 ? ((pieces - 1) * 1000) / (now - first) : undefined;
          hear({ type: 'text', side, text: piece, held: undefined, perSecond });
        }
        const took = elastic?.[0];
        if (!took) continue;
        hear({
          type: 'answered',
          side,
          held: {
            bytes: took.bytes_held,
            bytesWhole: took.bytes_full,
            entries: took.tokens_held,
            tokens: took.tokens_seen,
          },
          prefillMs: took.prefill_ms,
          msPerToken: took.ms_per_token,
          tokens: usage?.completion_tokens ?? 0,
          reason,
        });
      }
    } catch (cause) {
      if (!ends.signal.aborted) throw cause;
      const nothing = { prefillMs: null, msPerToken: null, tokens: pieces };
      hear({ type: 'answered', side, held: undefined, ...nothing, reason: 'aborted' });
    }
    return said;
  }

  async function obey(command: Exclude<Command, { type: 'stop' }>): Promise<void> {
    try {
      if (command.type === 'open') await open();
      else if (command.type === 'ask') await ask(command);
      else sides = { part: [], whole: [] };
    } catch (cause) {
      if (ends.signal.aborted) return;
      const isOpening = command.type === 'open';
      if (!isOpening) sides = { part: [], whole: [] };
      // What fetch() throws is about the network, in words that differ from browser to browser.
      const message = cause instanceof TypeError ? 'The server does not answer.' : (cause as Error).message;
      const needsKey = cause instanceof NeedsKey;
      hear({ type: 'failed', while: isOpening ? 'opening' : 'answering', message, needsKey });
    }
  }

  return {
    send: (command) => {
      if (command.type === 'stop') ends.abort();
      else void obey(command);
    },
    end: () => ends.abort(),
  };
}

/** The chunks of a stream of server-sent events. */
async function* chunksOf(response: Response): AsyncGenerator<Chunk, void, undefined> {
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { done, value = '' } = await reader.read();
    const events = (rest + value).split('\n\n');
    rest = events.pop()!;
    for (const event of events) if (event.startsWith('data: {')) yield JSON.parse(event.slice(6)) as Chunk;
    if (done) return;
  }
}

function dataUrl(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

import { escaped, type Page } from './html.js';

/** `/`: asks the server's own API, about a picture or without, and shows what the cache held. */
export function homePage(model: string, readsImages: boolean, withKeys: boolean): Page {
  const image = readsImages
    ? `<label>A picture <input type="file" id="file" accept="image/*"></label>
<img id="shown" alt="" hidden>`
    : '';
  const key = withKeys ? `<label>Your key <input type="password" id="key" autocomplete="off"></label>` : '';
  return {
    title: 'Elastic Cache',
    style: `
form { display: grid; grid-template-columns: minmax(0, 1fr); gap: .75rem; max-width: 40rem; margin: 1rem 0; } label { display: grid; grid-template-columns: minmax(0, 1fr); gap: .25rem; } textarea, input, select, button { font: inherit; color: inherit; background: var(--raised); border: 1px solid var(--line); border-radius: 6px; padding: .4rem .6rem; } textarea { resize: vertical; min-height: 4rem; }
button { background: var(--accent); border-color: var(--accent); color: var(--ground); justify-self: start; padding: .4rem 1.2rem; cursor: pointer; } #shown { max-width: min(16rem, 100%); border-radius: 6px; } #answer { white-space: pre-wrap; overflow-wrap: anywhere; min-height: 1.5rem; } #answer.wrong { color: var(--wrong); }
`,
    body: `<h1>Ask ${escaped(model)}</h1>
<p class="quiet">By OpenAI's API, which this server answers at <code>/v1</code>; <a href="docs">how to ask</a>, <a href="status">what it does at the moment</a>.</p>
<form id="form">
${image}
<label>What you ask <textarea id="prompt" required>${readsImages ? 'Describe the image in detail.' : ''}</textarea></label>
<label>How much of the cache is kept
<select id="budget"><option value="">as the server is set</option><option>1</option><option>0.5</option><option>0.2</option><option>0.1</option></select></label>
${key}
<button>Ask</button>
</form>
<div id="answer" role="status"></div>
<p class="quiet" id="took"></p>`,
    script: `
const at = (id) => document.getElementById(id);
const read = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});
at('file')?.addEventListener('change', async () => {
  const [file] = at('file').files;
  at('shown').hidden = !file;
  if (file) at('shown').src = await read(file);
});
let running;
at('form').addEventListener('submit', async (event) => {
  event.preventDefault();
  running?.abort();
  const own = running = new AbortController();
  const answer = at('answer');
  answer.className = '';
  answer.textContent = at('took').textContent = '';
  try {
    const file = at('file')?.files[0];
    const url = file && await read(file);
    const content = [...(url ? [{ type: 'image_url', image_url: { url } }] : []), { type: 'text', text: at('prompt').value }];
    const budget = at('budget').value;
    const key = at('key')?.value.trim();
    const response = await fetch('v1/chat/completions', {
      method: 'POST',
      signal: own.signal,
      headers: { 'content-type': 'application/json', ...(key && { authorization: 'Bearer ' + key }) },
      body: JSON.stringify({ messages: [{ role: 'user', content }], stream: true, stream_options: { include_usage: true }, ...(budget && { elastic: { budget } }) }),
    });
    if (!response.ok) throw new Error((await response.json()).error.message);
    let rest = '';
    for (const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      const events = (rest + value).split('\\n\\n');
      rest = events.pop();
      for (const line of events) {
        if (!line.startsWith('data: {')) continue;
        const chunk = JSON.parse(line.slice(6));
        if (chunk.error) throw new Error(chunk.error.message);
        answer.append(chunk.choices[0]?.delta.content ?? '');
        const took = chunk.elastic?.[0];
        if (took) at('took').textContent = chunk.usage.prompt_tokens + ' tokens asked, ' + chunk.usage.completion_tokens + ' answered, ' + took.tokens_held + ' of ' + took.tokens_seen + ' held in ' + (took.bytes_held / 1e6).toFixed(1) + ' MB of ' + (took.bytes_full / 1e6).toFixed(1);
      }
    }
  } catch (cause) {
    if (own.signal.aborted) return;
    answer.className = 'wrong';
    answer.textContent = cause.message;
  }
});
`,
  };
}

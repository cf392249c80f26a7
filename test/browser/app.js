// A page as others write one, for the bundlers in bundles.test.ts.
import { env } from '@huggingface/transformers';
import { chat, ElasticCache, loadElastic } from 'elastic-cache';

env.allowRemoteModels = false;
env.allowLocalModels = true;
env.useWasmCache = false;
env.backends.onnx.wasm.wasmPaths = '/ort/';

globalThis.answer = async (id, prompt) => {
  const loaded = await loadElastic(id, { dtype: 'fp32' });
  const cache = new ElasticCache({ budget: 0.3 });
  let text = '';
  for await (const event of chat(loaded, { cache }).ask({ prompt, maxNewTokens: 8, temperature: 0 })) {
    if (event.type === 'text') text += event.text;
  }
  return text;
};

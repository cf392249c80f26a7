import type { Block } from './drawing/layout.js';
import { nameOf } from './placed-grids.js';
import type { ExplainedLayer, Explanation, PromptToken } from './prompt/explain-prompt.js';
import { meanReceived, received, timesStayed } from './prompt-numbers.js';
import { promptText } from './prompt-text.js';

/** The text of the prompt: in how many layers each token stayed. */
export function textOfAllLayers(y: number, { tokens, layers }: Explanation): Block {
  const stayed = timesStayed(layers);
  const often = (token: number) => `stayed in ${stayed[token]} of ${layers.length} layers`;
  return promptText(y, tokens, layers.length, stayed, meanReceived(layers), often);
}

/** The text of the prompt: which tokens stayed in one layer, and where the others went. */
export function textOfLayer(y: number, explanation: Explanation, layer: ExplainedLayer): Block {
  const stayed = layer.anchor.map((anchor, token) => (anchor === token ? 1 : 0));
  const whither = (token: number) => whereTo(layer, explanation, token);
  return promptText(y, explanation.tokens, 1, stayed, received(layer), whither);
}

function whereTo({ anchor }: ExplainedLayer, { tokens, grids }: Explanation, token: number): string {
  const holder = anchor[token]!;
  if (holder === token) return 'stayed';
  if (holder === null) return 'dropped';
  return `merged into token ${holder}, ${described(tokens[holder]!, grids)}`;
}

function described({ patch, text }: PromptToken, grids: Explanation['grids']): string {
  if (patch === undefined) return `"${text}"`;
  if (patch === null) return 'a separator of the image';
  const of = grids.length > 1 ? ` of ${nameOf(grids[patch.grid]!)}` : '';
  return `the patch in row ${patch.row}, column ${patch.column}${of}`;
}

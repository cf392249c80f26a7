import { HIDDEN, type Mask } from '../../analysis/causal-mask.js';
import { Evaluator } from '../../analysis/evaluate.js';
import { intAttribute } from '../../onnx/attributes.js';
import type { Node } from '../../onnx/onnx.js';
import type { GraphIndex } from '../../onnx/queries.js';

/** What lies between the product of queries and keys and the weights: softmax(mask + softcap * tanh(scale * product / softcap)). */
export interface ScoreChain {
  scale: number;
  /** 0 for none. */
  softcap: number;
  masks: Mask[];
  softmax: Node;
}

/** Nodes that pass the weights or the scores on unchanged. */
const PASSES = new Set(['Identity', 'Cast', 'Dropout']);

/** Elements that a constant factor may take to compute. */
const MOST_COMPUTED = 2 ** 18;

/** Takes apart what leads from `scores` (a MatMul) to `weights`; the reason as a string when it is something else. */
export function scoreChain(index: GraphIndex, weights: string, scores: Node): ScoreChain | string {
  const softmax = softmaxOf(index, weights);
  if (softmax?.opType !== 'Softmax') {
    return softmax
      ? `what it multiplies comes from node "${softmax.name}" (${softmax.opType}), not from a softmax`
      : 'what it multiplies does not come from a softmax';
  }
  const axis = intAttribute(softmax, 'axis', -1);
  if (axis !== -1 && axis !== 3) return `its softmax "${softmax.name}" is over axis ${axis}`;
  const steps = pathTo(index, softmax.input[0] ?? '', scores, new Set());
  if (!steps) return `its softmax "${softmax.name}" is not over the scores of node "${scores.name}"`;
  return readSteps(index, softmax, steps);
}

/** The softmax behind the weights, seen through casts, dropout and the guard Where(IsNaN(p), 0, p). */
function softmaxOf(index: GraphIndex, weights: string): Node | undefined {
  const node = index.producer(weights);
  if (!node) return undefined;
  if (PASSES.has(node.opType)) return softmaxOf(index, node.input[0] ?? '');
  if (node.opType === 'Where') {
    const test = index.producer(node.input[0] ?? '');
    if (test?.opType === 'IsNaN' && test.input[0] === node.input[2] && constant(index, node.input[1]) === 0) {
      return softmaxOf(index, node.input[2] ?? '');
    }
  }
  return node;
}

/** One node on the way from the scores to the softmax, and at which of its inputs the scores enter. */
interface ScoreStep {
  node: Node;
  input: number;
}

const STEPS = new Set([...PASSES, 'Mul', 'Div', 'Tanh', 'Add', 'Where']);

/** The nodes from `scores` to the value `name`, in order of computation. */
function pathTo(index: GraphIndex, name: string, scores: Node, tried: Set<string>): ScoreStep[] | undefined {
  const node = index.producer(name);
  if (!node || tried.has(name)) return undefined;
  tried.add(name);
  if (node === scores) return [];
  if (!STEPS.has(node.opType)) return undefined;
  // A mask may be made of the same operators, but never of the scores.
  for (const [input, value] of node.input.entries()) {
    if (node.opType === 'Where' && input === 0) continue;
    const path = pathTo(index, value, scores, tried);
    if (path) return [...path, { node, input }];
  }
  return undefined;
}

function readSteps(index: GraphIndex, softmax: Node, steps: readonly ScoreStep[]): ScoreChain | string {
  const masks: Mask[] = [];
  let scale = 1;
  let softcap = 0;
  let capped = false;
  for (const { node, input } of steps) {
    const other = node.input[1 - input];
    const unknown = `node "${node.name}" (${node.opType}) changes the scores in a way that is not supported`;
    if (PASSES.has(node.opType)) continue;
    if (node.opType === 'Tanh') {
      if (capped || masks.length > 0) return unknown;
      capped = true;
    } else if (node.opType === 'Add') {
      masks.push({ value: other ?? '', use: 'added' });
    } else if (node.opType === 'Where') {
      const fill = constant(index, node.input[3 - input]);
      if (fill === undefined || !(fill <= HIDDEN)) return unknown;
      masks.push({ value: node.input[0] ?? '', use: input === 1 ? 'keeps' : 'hides' });
    } else {
      const number = constant(index, other);
      if (number === undefined || masks.length > 0 || (node.opType === 'Div' && input !== 0)) return unknown;
      const factor = node.opType === 'Mul' ? number : 1 / number;
      if (!capped) scale *= factor;
      else softcap = (softcap || 1) * factor;
    }
  }
  if (capped && softcap === 0) softcap = 1;
  // c tanh(s x): the softcap's own division is part of s.
  if (capped) scale *= softcap;
  return { scale, softcap, masks, softmax };
}

/** The one number that a value is, also where the graph computes it from constants or from sizes of heads. */
function constant(index: GraphIndex, name: string | undefined): number | undefined {
  if (!name) return undefined;
  try {
    const { data } = new Evaluator(index, {}, {}, MOST_COMPUTED).value(name);
    return data.length === 1 ? data[0] : undefined;
  } catch {
    return undefined;
  }
}

import { describe, expect, it } from 'vitest';
import { fixture } from '../../../test/graph/exported-runs.js';
import { inspectDecoder } from '../inspect.js';
import { attributeOf } from '../onnx/attributes.js';
import { GraphBuilder } from '../onnx/builder.js';
import { createNode, DataType, type Graph, graphOf, type Model } from '../onnx/onnx.js';
import { float32Tensor, int64Tensor } from '../onnx/tensors.js';

/** What must be refused: a change to the merged model and its branch with a past, and what the message must say. */
const REFUSED: Record<string, { change: (model: Model, branch: Graph) => void; says: string[] }> = {
  'one rotation for all tokens': {
    change: (_, branch) => firstOf('position_ids', branch),
    says: ['"optimum::if" (If)', 'one token at a time', 'one row of'],
  },
  'logits of one token': {
    change: (_, branch) => {
      const { input } = branch.node.find(({ output }) => output[0] === 'logits')!;
      firstOf(input[0]!, branch);
    },
    says: ['"optimum::if" (If)', '"logits" would not hold all of them'],
  },
  'a condition that something else reads': {
    change: (model) => {
      const builder = new GraphBuilder(model);
      builder.op('Not', ['use_cache_branch'], { outputs: ['no_past'] });
      builder.output('no_past', DataType.BOOL, [1]);
    },
    says: ['"use_cache_branch"', 'otherwise than to choose between two branches'],
  },
  'a condition that nothing reads': {
    change: (model) => {
      graphOf(model).node[0]!.input[0] = 'other';
    },
    says: ['"use_cache_branch"', 'otherwise than to choose between two branches'],
  },
  'a name inside the branch and outside': {
    change: (model, branch) => {
      graphOf(model).initializer.push(float32Tensor(branch.node[0]!.output[0]!, [1], [0]));
    },
    says: ['"optimum::if" (If)', 'in its branch and another outside'],
  },
};

describe('a decoder merged under If', () => {
  for (const [what, { change, says }] of Object.entries(REFUSED)) {
    it(`is refused for ${what}`, async () => {
      const model = await fixture('optimum-merged-grouped');
      const branch = attributeOf(graphOf(model).node[0]!, 'then_branch')!.g!;
      change(model, branch);
      const { refusal } = inspectDecoder(model);
      for (const words of says) expect(refusal).toContain(words);
    });
  }

  it.each(['Erf', 'Gelu', 'Clip'])('may have the activation %s', async (opType) => {
    const model = await fixture('optimum-merged-grouped');
    const { node } = attributeOf(graphOf(model).node[0]!, 'then_branch')!.g!;
    const activations = node.filter((each) => each.opType === 'Sigmoid');
    expect(activations.length).toBeGreaterThan(0);
    for (const each of activations) each.opType = opType;
    expect(inspectDecoder(model).refusal).toBeUndefined();
  });

  it('may name its outputs otherwise inside', async () => {
    const model = await fixture('optimum-merged-grouped');
    const branch = attributeOf(graphOf(model).node[0]!, 'then_branch')!.g!;
    for (const output of branch.output) {
      const inner = `${output.name}_inside`;
      for (const node of branch.node) {
        node.input = node.input.map((name) => (name === output.name ? inner : name));
        node.output = node.output.map((name) => (name === output.name ? inner : name));
      }
      output.name = inner;
    }
    expect(inspectDecoder(model).refusal).toBeUndefined();
  });
});

/** Lets the nodes that read a value [B, S, ...] read only its first token, as a graph traced for one would. */
function firstOf(value: string, branch: Graph): void {
  branch.initializer.push(int64Tensor('zero', [1], [0]), int64Tensor('one', [1], [1]));
  for (const node of branch.node) {
    node.input = node.input.map((name) => (name === value ? 'first_token' : name));
  }
  const at = branch.node.findIndex(({ output }) => output.includes(value)) + 1;
  const input = [value, 'zero', 'one', 'one'];
  branch.node.splice(at, 0, createNode({ opType: 'Slice', name: 'first', input, output: ['first_token'] }));
}

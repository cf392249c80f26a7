import { describe, expect, it } from 'vitest';
import { openModel } from '../../../test/graph/decoder-runs.js';
import { buildGqaDecoder } from '../../../test/graph/gqa-decoder.js';
import { attributeInit, intAttribute } from '../onnx/attributes.js';
import { createNode, graphOf, MICROSOFT, type Model } from '../onnx/onnx.js';
import { setAccuracyLevel } from './accuracy-level.js';

const levels = (model: Model) =>
  graphOf(model)
    .node.filter(({ opType }) => opType === 'MatMulNBits')
    .map((node) => intAttribute(node, 'accuracy_level', -1));

describe('accuracy level of int4 weights', () => {
  it('is set where the file leaves it open, in branches too, and ONNX Runtime takes it', async () => {
    const model = buildGqaDecoder({ weights: 'int4' });
    const count = levels(model).length;
    expect(count).toBeGreaterThan(3);
    expect(setAccuracyLevel(model, 4)).toBe(count);
    expect(levels(model)).toEqual(new Array(count).fill(4));
    const session = await openModel(model);
    await session.release();
    // What is set stays.
    expect(setAccuracyLevel(model, 1)).toBe(0);

    const merged = buildGqaDecoder({ weights: 'int4' });
    const inner = structuredClone(graphOf(buildGqaDecoder({ weights: 'int4' })));
    graphOf(merged).node.push(
      createNode({ opType: 'If', attribute: [attributeInit('then_branch', { graph: inner })] }),
    );
    expect(setAccuracyLevel(merged, 4)).toBe(2 * count);
  });

  it('takes 0 for nothing said', () => {
    const model = buildGqaDecoder({ weights: 'int4' });
    const [first] = graphOf(model).node.filter(({ opType }) => opType === 'MatMulNBits');
    const written = createNode({
      opType: 'MatMulNBits',
      domain: MICROSOFT,
      attribute: [attributeInit('accuracy_level', 0)],
    });
    first!.attribute.push(written.attribute[0]!);
    setAccuracyLevel(model, 4);
    expect(new Set(levels(model))).toEqual(new Set([4]));
  });
});

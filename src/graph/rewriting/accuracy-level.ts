import { create } from '@bufbuild/protobuf';
import { attributeInit, attributeOf, intAttribute, subgraphsOf } from '../onnx/attributes.js';
import { AttributeProtoSchema } from '../onnx/onnx.gen.js';
import { type Graph, graphOf, type Model } from '../onnx/onnx.js';

const NAME = 'accuracy_level';

/**
 * Sets what inputs are rounded to where int4 weights (MatMulNBits of ONNX Runtime) are multiplied, where the file leaves it open: 1 float32, 2 float16, 3 bfloat16, 4 int8.
 * A file that says 0, or nothing, leaves it to ONNX Runtime, which takes the inputs' own type. Changes the model. Returns how many operators it set.
 */
export function setAccuracyLevel(model: Model, level: number): number {
  return setIn(graphOf(model), level);
}

function setIn(graph: Graph, level: number): number {
  let set = 0;
  for (const node of graph.node) {
    for (const inner of subgraphsOf(node)) set += setIn(inner, level);
    if (node.opType !== 'MatMulNBits' || intAttribute(node, NAME, 0) !== 0) continue;
    const given = attributeOf(node, NAME);
    const attribute = create(AttributeProtoSchema, attributeInit(NAME, level));
    if (given) node.attribute[node.attribute.indexOf(given)] = attribute;
    else node.attribute.push(attribute);
    set++;
  }
  return set;
}

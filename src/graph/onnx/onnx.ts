import { clone, create, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { ElasticCacheError, reasonOf, shown } from '../../errors.js';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  TensorProtoSchema,
  type ValueInfoProto,
} from './onnx.gen.js';

export type Model = ModelProto;
export type Graph = GraphProto;
export type Node = NodeProto;
export type Attribute = AttributeProto;
export type Tensor = TensorProto;
export type ValueInfo = ValueInfoProto;
export {
  AttributeProto_AttributeType as AttributeType,
  TensorProto_DataLocation as DataLocation,
  TensorProto_DataType as DataType,
};

/** The domain of ONNX Runtime's own operators. */
export const MICROSOFT = 'com.microsoft';

/**
 * Reads an ONNX model. Byte fields are views of `bytes`, nothing is copied, and fields unknown to us survive.
 * @throws ElasticCacheError 'invalid-model' when the bytes are not a whole ONNX model.
 */
export function parseModel(bytes: Uint8Array): Model {
  if (!(bytes instanceof Uint8Array)) {
    throw new ElasticCacheError(
      'invalid-model',
      `an ONNX model is read from its bytes, as a Uint8Array; ${shown(bytes)} is none.`,
    );
  }
  let model: Model;
  try {
    model = fromBinary(ModelProtoSchema, bytes);
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-model',
      `These ${bytes.length} bytes are not a whole ONNX model (${reasonOf(cause)}): the file is truncated or damaged, download or export it again.`,
      { cause },
    );
  }
  if (!model.graph) {
    throw new ElasticCacheError(
      'invalid-model',
      `These ${bytes.length} bytes hold no ONNX graph: give the path of an .onnx model.`,
    );
  }
  return model;
}

/**
 * Writes an ONNX model.
 * @throws ElasticCacheError 'invalid-model' when it cannot be written, for instance above the 2 GB of protobuf.
 */
export function serializeModel(model: Model): Uint8Array<ArrayBuffer> {
  refuseNoModel(model);
  try {
    return toBinary(ModelProtoSchema, model);
  } catch (cause) {
    throw new ElasticCacheError(
      'invalid-model',
      `The ONNX model "${model.graph?.name ?? ''}" cannot be written: ${reasonOf(cause)}; keep large tensors as external data.`,
      { cause },
    );
  }
}

/** A deep copy: changing it leaves the original alone. @throws ElasticCacheError 'invalid-model' */
export function cloneModel(model: Model): Model {
  refuseNoModel(model);
  return clone(ModelProtoSchema, model);
}

export function createModel(init: MessageInitShape<typeof ModelProtoSchema>): Model {
  return create(ModelProtoSchema, init);
}

export function createGraph(init: MessageInitShape<typeof GraphProtoSchema>): Graph {
  return create(GraphProtoSchema, init);
}

export function createNode(init: MessageInitShape<typeof NodeProtoSchema>): Node {
  return create(NodeProtoSchema, init);
}

export function createTensor(init: MessageInitShape<typeof TensorProtoSchema>): Tensor {
  return create(TensorProtoSchema, init);
}

/**
 * The graph of a model.
 * @throws ElasticCacheError 'invalid-model' when there is none.
 */
export function graphOf(model: Model): Graph {
  refuseNoModel(model);
  if (!model.graph) throw new ElasticCacheError('invalid-model', 'The ONNX model holds no graph.');
  return model.graph;
}

function refuseNoModel(model: Model): void {
  if (Object(model).$typeName === ModelProtoSchema.typeName) return;
  throw new ElasticCacheError(
    'invalid-model',
    `an ONNX model is what parseModel() or readSkeleton() returns; ${shown(model)} is none.`,
  );
}

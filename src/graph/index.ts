/**
 * Decoders as ONNX graphs: read, looked at, rewritten, written.
 * @module
 */

export { type Inspection, inspectDecoder } from './inspect.js';
export type { ByteSource } from './onnx/byte-source.js';
export { type Model as OnnxModel, parseModel, serializeModel } from './onnx/onnx.js';
export { readSkeleton } from './onnx/skeleton.js';
export { type RewriteReport, rewriteDecoder } from './rewrite.js';

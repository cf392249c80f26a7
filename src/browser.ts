/**
 * The entry for browsers: all of the library that needs no file and no process. What rewrites graphs is fetched with the first model; `elastic-cache/graph` has it by itself.
 * @module
 */

// Run a model.
export type { Budget } from './cache/budget.js';
// Choose or write a policy.
export type {
  Allowance,
  CachePolicy,
  Entries,
  LayerPolicy,
  PolicyState,
  SequencePolicy,
  TurnEdit,
  TurnView,
} from './cache/policy.js';
export { eachLayer, keepAll } from './cache/policy.js';
export { ElasticCache, type ElasticCacheOptions } from './elastic-cache.js';
// Answer many requests at once.
export { createEngine } from './engine/create-local-engine.js';
export type { Message } from './engine/messages.js';
export type {
  Engine,
  EngineEvent,
  EngineOptions,
  EngineRequest,
  EngineStats,
  EngineUsage,
} from './engine/request.js';
export { ElasticCacheError, type ErrorCode } from './errors.js';
export { contractNames, type DecoderLayer, type DecoderSignature } from './graph/decoder.js';
export { KVCache } from './memory/kv-cache.js';
export type { AppendOptions, CacheShape, KVCacheOptions, LayerRows } from './memory/shape.js';
export type { CacheStats, LayerStats } from './memory/stats.js';
export { type Answer, type AnswerOptions, answer } from './models/conversation/answer.js';
export {
  type Chat,
  type ChatEvent,
  type ChatOptions,
  type ChatQuestion,
  type ChatUsage,
  chat,
} from './models/conversation/chat.js';
export {
  type Inputs,
  prepareInputs,
  type Question,
  tokensAfterImage,
} from './models/conversation/prepare-inputs.js';
export type { FinishReason, ReplySettings } from './models/conversation/reply.js';
export type { Dtype } from './models/files/model-files.js';
export type { ResponseFormat } from './models/generation/formatted/response-format.js';
export {
  type ImageSource,
  MAX_BYTES,
  MAX_PIXELS,
  type ReadImageOptions,
  readImage,
  type WebAccess,
} from './models/images/read-image.js';
export { type LoadOptions, loadElastic } from './models/load.js';
export type {
  ElasticModel,
  GenerateOptions,
  GenerateOutput,
  LoadedModel,
  LoadedVisionModel,
} from './models/loaded-model.js';
export type { PolicyOptions } from './policies/options.js';
export {
  createPolicy,
  describePolicy,
  type PolicyName,
  type PolicySpec,
  policyNames,
} from './policies/registry.js';

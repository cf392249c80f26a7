/**
 * Vision-language models with a fifth of the key-value cache. This is the entry for Node: what a browser has too, and what needs files and processes.
 * @module
 */

export * from './browser.js';
// Make a model directory.
export {
  type ConvertDtype,
  type ConvertOptions,
  type ConvertProgress,
  convertCheckpoint,
} from './convert/index.js';
// Answer many requests at once, the model in a process of its own.
export { createEngine } from './engine/create-engine.js';
// Look at a decoder, and rewrite it for another runtime.
export * from './graph/index.js';
export { embeddedImage, embeddedModel } from './models/embedded.js';

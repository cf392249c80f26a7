export {
  type ConvertDtype,
  type ConvertOptions,
  type ConvertProgress,
  convertCheckpoint,
} from './convert-checkpoint.js';

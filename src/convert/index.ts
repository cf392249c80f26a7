export {
  type ConvertDtype,
  type ConvertOptions,
  convertCheckpoint,
} from './convert-checkpoint.js';
export type { ConvertProgress } from './writing/progress.js';

import type { Dtype } from '../models/files/model-files.js';
import { type LoadOptions, loadElastic } from '../models/load.js';
import type { LoadedModel } from '../models/loaded-model.js';
import type { PeakMemory } from '../runtime/passes/reader.js';
import type { Progress } from './terminal/progress.js';

/** The options of every command that runs a model, as they were typed. */
export interface ModelOptions {
  model?: string;
  dtype?: string;
  device?: string;
  chunk?: number;
  peak?: PeakMemory;
  accuracyLevel?: '1' | '2' | '3' | '4';
}

/** Loads a model and tells how far its download is. */
export function loadWithProgress(
  model: string,
  options: ModelOptions,
  progress: Progress,
): Promise<LoadedModel> {
  return withLoadProgress(model, options, progress, (load) => loadElastic(model, load));
}

/** Does what loads a model, with the options that it is loaded with, and tells how far its download is. */
export function withLoadProgress<T>(
  model: string,
  { dtype, device, chunk, peak, accuracyLevel }: ModelOptions,
  progress: Progress,
  run: (load: LoadOptions) => Promise<T>,
): Promise<T> {
  return progress.stage(`loading ${model}`, () => {
    const files = new Map<string, { loaded: number; total: number }>();
    const options: LoadOptions = {
      progress_callback(event) {
        if (event.status !== 'progress') return;
        files.set(event.file, event);
        const sum = (name: 'loaded' | 'total') =>
          [...files.values()].reduce((total, file) => total + file[name], 0);
        progress.at(sum('loaded'), sum('total'));
      },
    };
    if (dtype !== undefined) options.dtype = dtype as Dtype;
    if (device !== undefined) options.device = device;
    if (chunk !== undefined) options.chunk = chunk;
    if (peak !== undefined) options.peak = peak;
    if (accuracyLevel !== undefined) options.accuracyLevel = Number(accuracyLevel) as 1 | 2 | 3 | 4;
    return run(options);
  });
}

import { ElasticSession } from '../runtime/elastic-session.js';

/** The session of a loaded model's decoder; undefined for what is no model from `loadElastic()`. */
export function decoderSession(model: unknown): ElasticSession | undefined {
  const { sessions } = Object(model) as { sessions?: unknown };
  return Object.values<unknown>(Object(sessions)).find((each) => each instanceof ElasticSession);
}

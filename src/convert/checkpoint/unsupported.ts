import type { z } from 'zod';
import { ElasticCacheError } from '../../errors.js';

/** Characters of a value that are shown. */
const LONGEST = 200;

/** The sentence about the first entry of config.json that this converter has no graph for. */
export function unsupported(config: unknown, issue: z.core.$ZodIssue): ElasticCacheError {
  const path = issue.path.join('.');
  const value = issue.path.reduce<unknown>(
    (at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key],
    config,
  );
  const found =
    value === undefined ? `no ${path}` : `${path || 'content'} = ${JSON.stringify(value).slice(0, LONGEST)}`;
  // Of a number out of its range, or a text for one, zod says what it expected.
  const expected =
    'values' in issue
      ? `but only ${issue.values.map(String).join(' or ')} can be converted`
      : `which cannot be converted (${issue.message.charAt(0).toLowerCase()}${issue.message.slice(1)})`;
  return new ElasticCacheError(
    'unsupported-model',
    `config.json has ${found}, ${expected}: the converter knows LLaVA 1.5 (llava: CLIP vision tower, GELU projector, Llama decoder), Qwen-VL of 2023 (qwen, with its vision tower), Qwen2-VL and Qwen2.5-VL (qwen2_vl, qwen2_5_vl), Idefics3 and SmolVLM (idefics3, smolvlm) and text models (llama, mistral, qwen2, qwen3, gemma3_text).`,
  );
}

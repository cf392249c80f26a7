import { z } from 'zod';
import {
  CompareResult,
  Conversation,
  EvalResult,
  ExplainResult,
  GenerateResult,
  InspectResult,
} from './schemas.js';

const PARTS = {
  'generate --json': GenerateResult,
  'compare --json': CompareResult,
  'explain --json': ExplainResult,
  'eval --json': EvalResult,
  'inspect --json': InspectResult,
  '/save talk.json, in a chat': Conversation,
};

/** docs/json.md: what `--json` prints, as JSON Schema. */
export function jsonPage(): string {
  const parts = Object.entries(PARTS).map(
    ([name, schema]) =>
      `## ${name}\n\n\`\`\`json\n${JSON.stringify(z.toJSONSchema(schema), null, 2)}\n\`\`\`\n`,
  );
  return `# What \`--json\` prints\n\nOne JSON value on stdout, as JSON Schema. A budget is a text everywhere, as it is typed (\`0.2\`, \`256tokens\`, \`64mb\`); what was not measured is \`null\`. \`npx tsx docs/json.ts\` writes this page, and the tests hold real output against it.\n\n${parts.join('\n')}`;
}

import { z } from 'zod';
import { CompareResult, EvalResult, ExplainResult, GenerateResult, InspectResult } from './schemas.js';

const COMMANDS = {
  generate: GenerateResult,
  compare: CompareResult,
  explain: ExplainResult,
  eval: EvalResult,
  inspect: InspectResult,
};

/** docs/json.md: what `--json` prints, as JSON Schema. */
export function jsonPage(): string {
  const parts = Object.entries(COMMANDS).map(
    ([name, schema]) =>
      `## ${name} --json\n\n\`\`\`json\n${JSON.stringify(z.toJSONSchema(schema), null, 2)}\n\`\`\`\n`,
  );
  return `# What \`--json\` prints\n\nOne JSON value on stdout, as JSON Schema. A budget is a text everywhere, as it is typed (\`0.2\`, \`256tokens\`, \`64mb\`); what was not measured is \`null\`. \`npx tsx docs/json.ts\` writes this page, and the tests hold real output against it.\n\n${parts.join('\n')}`;
}

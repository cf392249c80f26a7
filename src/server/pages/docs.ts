import { escaped, type Page } from './html.js';
import type { ApiDocument, Operation } from './openapi.js';

/** A part of a JSON Schema, as far as it is shown. */
interface Schema {
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly description?: string;
  readonly properties?: Record<string, Schema>;
  readonly required?: readonly string[];
  readonly items?: Schema;
  readonly anyOf?: readonly Schema[];
  readonly oneOf?: readonly Schema[];
  readonly minimum?: number;
  readonly exclusiveMinimum?: number;
  readonly maximum?: number;
  readonly maxItems?: number;
}

/** The document for people. @param origin what the server is reached at */
export function docsPage(document: ApiDocument, origin: string): Page {
  const operations = Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) =>
      section(method, path, operation, origin, document.security.length > 0),
    ),
  );
  const intro = `<h1>${escaped(document.info.title)} API</h1>
<p class="quiet">${inline(document.info.description)} Version ${escaped(document.info.version)}; <a href="openapi.json">openapi.json</a> says the same for programs.</p>
<pre>import OpenAI from 'openai';
const client = new OpenAI({ baseURL: '${escaped(origin)}/v1', apiKey: '${document.security.length > 0 ? 'your key' : 'none'}' });</pre>`;
  return { title: `${document.info.title} API`, body: intro + operations.join('\n') };
}

function section(
  method: string,
  path: string,
  operation: Operation,
  origin: string,
  withKey: boolean,
): string {
  const { summary, description, requestBody, responses } = operation;
  const content = requestBody?.content['application/json'];
  const rows = content ? fields(content.schema as Schema) : [];
  const key = withKey ? " \\\n  -H 'authorization: Bearer YOUR-KEY'" : '';
  const call = content
    ? `curl ${origin}${path}${key} \\\n  -H 'content-type: application/json' \\\n  -d '${JSON.stringify(content.example, null, 2)}'`
    : undefined;
  const statuses = Object.entries(responses).map(
    ([status, response]) =>
      `<tr><td><code>${status}</code></td><td>${inline((response as { description: string }).description)}</td></tr>`,
  );
  return `<h2 id="${escaped(path)}"><code>${method.toUpperCase()} ${escaped(path)}</code></h2>
<p>${escaped(summary)}.${description === undefined ? '' : ` ${inline(description)}`}</p>
${call === undefined ? '' : `<pre>${escaped(call)}</pre>`}
${rows.length === 0 ? '' : `<div class="wide"><table><tr><th>field</th><th>is</th><th></th></tr>${rows.join('')}</table></div>`}
<div class="wide"><table><tr><th>status</th><th></th></tr>${statuses.join('')}</table></div>`;
}

function fields({ properties = {}, required = [] }: Schema): string[] {
  return Object.entries(properties).map(([name, schema]) => {
    const needed = required.includes(name) ? ' <span class="quiet">(needed)</span>' : '';
    return `<tr><td><code>${escaped(name)}</code>${needed}</td><td>${escaped(typeOf(schema))}</td><td>${inline(schema.description ?? '')}</td></tr>`;
  });
}

/** What a value is, in words. @param depth of objects that are shown field by field */
function typeOf(schema: Schema, depth = 1): string {
  const either = schema.anyOf ?? schema.oneOf;
  if (either) return [...new Set(either.map((each) => typeOf(each, depth)))].join(' or ');
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((each) => JSON.stringify(each)).join(' or ');
  if (schema.type === 'array') return `list of ${schema.items ? `${typeOf(schema.items, 0)}s` : 'anything'}`;
  if (schema.type === 'object' && schema.properties && depth > 0) {
    const own = Object.entries(schema.properties).map(([name, each]) => `${name}: ${typeOf(each, 0)}`);
    return `{ ${own.join(', ')} }`;
  }
  return `${schema.type ?? 'anything'}${range(schema)}`;
}

function range({ minimum, exclusiveMinimum, maximum }: Schema): string {
  // What every number in JSON is within is no limit.
  const most = maximum === undefined || maximum >= Number.MAX_SAFE_INTEGER ? '' : ` to ${maximum}`;
  if (exclusiveMinimum !== undefined) return ` above ${exclusiveMinimum}${most}`;
  return minimum === undefined || minimum <= Number.MIN_SAFE_INTEGER ? most : ` from ${minimum}${most}`;
}

/** Text with code between backticks. */
function inline(text: string): string {
  return escaped(text).replaceAll(/`([^`]+)`/g, '<code>$1</code>');
}

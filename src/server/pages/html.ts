import { randomBytes } from 'node:crypto';

/** Text as HTML has it. */
export function escaped(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

export interface Page {
  readonly title: string;
  /** HTML. */
  readonly body: string;
  /** CSS and JavaScript of this page alone. */
  readonly style?: string;
  readonly script?: string;
}

/** Colours for light and dark, and what every page has. */
const STYLE = `
:root { color-scheme: light dark; --ink: #1c2024; --quiet: #5c6670; --line: #d9dee3; --ground: #fff; --raised: #f5f7f9; --accent: #0b6bcb; --full: #b7c4d1; --wrong: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --quiet: #9aa5b1; --line: #333b44; --ground: #14181c; --raised: #1c2228; --accent: #6cb2ff; --full: #46525e; --wrong: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--ground); }
h1 { font-size: 1.5rem; margin: 1rem 0 .25rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; } h2 code { font-size: 1.05rem; }
a { color: var(--accent); } nav a { margin-right: 1rem; } .quiet { color: var(--quiet); }
code { overflow-wrap: anywhere; } code, pre { font: .875rem/1.45 ui-monospace, monospace; } pre { background: var(--raised); border: 1px solid var(--line); border-radius: 6px; padding: .75rem; overflow-x: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .925rem; } th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-top: 1px solid var(--line); } th { font-weight: 600; }
`;

/** A page that loads nothing from elsewhere, and runs no script but its own: its policy says so. */
export function pageResponse({ title, body, style = '', script }: Page): Response {
  const nonce = randomBytes(16).toString('base64');
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)}</title>
<link rel="icon" href="data:,">
<style nonce="${nonce}">${STYLE}${style}</style>
</head>
<body>
<nav><a href="./">Elastic Cache</a><a href="docs">API</a><a href="status">Status</a></nav>
${body}
${script === undefined ? '' : `<script type="module" nonce="${nonce}">${script}</script>`}
</body>
</html>
`;
  const policy = [
    ...["default-src 'none'", "connect-src 'self'", 'img-src data:', "base-uri 'none'", "form-action 'none'"],
    ...["frame-ancestors 'none'", `style-src 'nonce-${nonce}'`, `script-src 'nonce-${nonce}'`],
  ].join('; ');
  return new Response(html, {
    headers: {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': policy,
      'cache-control': 'no-store',
    },
  });
}

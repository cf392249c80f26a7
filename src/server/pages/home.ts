import { escaped, type Page } from './html.js';

/** What there is to see. */
export function homePage(model: string): Page {
  return {
    title: 'Elastic Cache',
    body: `<h1>Elastic Cache</h1>
<p><code>${escaped(model)}</code> answers here, by OpenAI's API.</p>
<ul>
<li><a href="docs">How to ask</a></li>
<li><a href="status">What it does at the moment</a></li>
</ul>`,
  };
}

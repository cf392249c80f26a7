/** How many patches are drawn as one of a class: each is a part of a path of its own. */
export function marked(svg: string, name: string): number {
  const paths = svg.matchAll(new RegExp(`<path class="${name}"[^>]* d="([^"]*)"`, 'g'));
  return [...paths].reduce((count, [, d]) => count + d!.split('M').length - 1, 0);
}

import { isIP } from 'node:net';

/**
 * Whether a Host header has a name of this machine, or an address: a name of another's that leads here is how a page of theirs would reach what only this machine may (DNS rebinding).
 */
export function isOwnName(header: string): boolean {
  const host = header
    .replace(/:\d+$/, '')
    .replace(/^\[|\]$/g, '')
    .toLowerCase();
  return host === '' || host === 'localhost' || host.endsWith('.localhost') || isIP(host) !== 0;
}

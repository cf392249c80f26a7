import { createHash, timingSafeEqual } from 'node:crypto';
import { ElasticCacheError } from '../../errors.js';
import { RequestError } from '../openai/errors.js';

/** A key that opens the API, without the key. */
export interface Key {
  /** For logs. */
  readonly name: string;
  /** Answers at once, and requests a minute, at most; any number unless told. */
  readonly atOnce: number | undefined;
  readonly perMinute: number | undefined;
}

/** The keys that open the API; of each only its hash is kept. */
export class Keys {
  readonly #keys: readonly { readonly hash: Buffer; readonly key: Key }[];

  /**
   * @param text a key a line, with what it is called and what it may: `sk-secret name=alice at-once=4 per-minute=60`; lines that begin with # are notes
   * @throws ElasticCacheError 'invalid-option' with the number of the line, never with what it holds
   */
  constructor(text: string) {
    const lines = text.split(/\r?\n/).map((line, index) => ({ line: line.trim(), number: index + 1 }));
    this.#keys = lines
      .filter(({ line }) => line !== '' && !line.startsWith('#'))
      .map(({ line, number }) => keyOf(line, number));
    if (this.#keys.length === 0) throw wrong('there is none in it; write one a line');
    const names = this.#keys.map(({ key }) => key.name);
    const twice = names.find((name, index) => names.indexOf(name) !== index);
    if (twice !== undefined) throw wrong(`two are called "${twice}"; give each a name of its own`);
  }

  /**
   * The key of a request. Every key is compared, in a time that tells nothing.
   * @throws RequestError 401
   */
  of(authorization: string | undefined): Key {
    const given = hashOf(/^Bearer +(\S+)\s*$/i.exec(authorization ?? '')?.[1] ?? '');
    let found: Key | undefined;
    for (const { hash, key } of this.#keys) if (timingSafeEqual(hash, given)) found = key;
    if (found) return found;
    const what =
      authorization === undefined
        ? 'This server asks for a key, and there is none'
        : 'The key is none of this server';
    throw new RequestError(401, 'invalid_api_key', `${what}; send one as "Authorization: Bearer KEY".`, {
      headers: { 'www-authenticate': 'Bearer' },
    });
  }
}

function keyOf(line: string, number: number): { hash: Buffer; key: Key } {
  const [secret = '', ...settings] = line.split(/\s+/);
  if (secret.includes('=')) throw wrong(`line ${number} begins with a setting; begin with the key`);
  const given = new Map<string, string>();
  for (const setting of settings) {
    const [, name, value] = /^(name|at-once|per-minute)=(\S+)$/.exec(setting) ?? [];
    if (name === undefined || value === undefined) {
      throw wrong(
        `line ${number} has something behind the key that is none of name=, at-once= and per-minute=`,
      );
    }
    given.set(name, value);
  }
  const count = (name: string) => {
    const value = given.get(name);
    if (value === undefined || /^[1-9]\d{0,8}$/.test(value))
      return value === undefined ? undefined : Number(value);
    throw wrong(`${name} of line ${number} is no whole number from 1`);
  };
  const key = {
    name: given.get('name') ?? `key ${number}`,
    atOnce: count('at-once'),
    perMinute: count('per-minute'),
  };
  return { hash: hashOf(secret), key };
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function wrong(what: string): ElasticCacheError {
  return new ElasticCacheError('invalid-option', `The file of API keys cannot be used: ${what}.`);
}

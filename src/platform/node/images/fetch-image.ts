import { type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import { isIP } from 'node:net';
import { ElasticCacheError, reasonOf } from '../../../errors.js';
import { sizeName } from '../../../size-name.js';
import { MAX_WEB_BYTES, MOST_WEB_TIME, NO_WEB, notFetched, type WebAccess } from '../../images.js';
import { allowedAddresses, checkedLookup, RefusedAddress } from './web-address.js';

const MOST_REDIRECTS = 5;

/**
 * Fetches the bytes behind an `http:` or `https:` address. Not with `fetch`, which tells nobody which machine a name led it to.
 * @param name what errors call the image
 * @throws ElasticCacheError `download-failed`: not allowed, not there, too large, too slow, too many redirects
 */
export async function fetchImage(address: string, access: WebAccess, name: string): Promise<Uint8Array> {
  const failed = (reason: string, cause?: unknown) => notFetched(name, reason, cause);
  if (access === 'none') throw failed(NO_WEB);
  const signal = AbortSignal.timeout(MOST_WEB_TIME);
  try {
    let url = new URL(address);
    for (let redirects = 0; redirects <= MOST_REDIRECTS; redirects++) {
      if (!/^https?:$/.test(url.protocol))
        throw new RefusedAddress(`it leads to ${url.protocol} instead of http: or https:`);
      const response = await get(url, allowedAddresses(url, access, redirects === 0), signal);
      const { statusCode = 0, headers } = response;
      if (statusCode === 200) return await bytesOf(response, signal);
      response.destroy();
      if (![301, 302, 303, 307, 308].includes(statusCode) || headers.location === undefined) {
        throw failed(`the server answers with status ${statusCode}; check the address`);
      }
      url = new URL(headers.location, url);
    }
    throw failed(`it leads on more than ${MOST_REDIRECTS} times; give the address that it ends at`);
  } catch (cause) {
    if (cause instanceof ElasticCacheError) throw cause;
    if (signal.aborted)
      throw failed(`it takes more than ${MOST_WEB_TIME / 1000} seconds; download it first`, cause);
    if (cause instanceof RefusedAddress) {
      throw failed(`${cause.message}, which is not asked for images; download it first`, cause);
    }
    throw failed(`${reasonOf(cause)}; check the address and the connection`, cause);
  }
}

function get(url: URL, allowed: (address: string) => boolean, signal: AbortSignal): Promise<IncomingMessage> {
  const host = url.hostname.replace(/^\[|\]$/g, '');
  // Nothing is looked up where the host is an address.
  if (isIP(host) !== 0 && !allowed(host)) throw new RefusedAddress(`it leads to ${host}`);
  const request = url.protocol === 'https:' ? requestHttps : requestHttp;
  return new Promise((resolve, reject) => {
    request(url, { lookup: checkedLookup(allowed), signal, agent: false, headers: { accept: 'image/*' } })
      .on('response', resolve)
      .on('error', reject)
      .end();
  });
}

async function bytesOf(response: IncomingMessage, signal: AbortSignal): Promise<Uint8Array> {
  const tooLarge = () => new RefusedAddress(`it has more than ${sizeName(MAX_WEB_BYTES)}`);
  if (Number(response.headers['content-length']) > MAX_WEB_BYTES) {
    response.destroy();
    throw tooLarge();
  }
  const parts: Buffer[] = [];
  let size = 0;
  for await (const part of response as AsyncIterable<Buffer>) {
    size += part.length;
    if (size > MAX_WEB_BYTES) throw tooLarge();
    parts.push(part);
  }
  signal.throwIfAborted();
  return Buffer.concat(parts);
}

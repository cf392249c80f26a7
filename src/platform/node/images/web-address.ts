import { type LookupAddress, lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import type { WebAccess } from '../../images.js';

const LOOPBACK = blocks(['127.0.0.0/8', '::1/128']);

/** What is not of the internet: RFC 6890 and the registries of special-purpose addresses that it began. */
const NOT_PUBLIC = blocks([
  ...['0.0.0.0/8', '10.0.0.0/8', '100.64.0.0/10', '127.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12'],
  ...['192.0.0.0/24', '192.0.2.0/24', '192.88.99.0/24', '192.168.0.0/16', '198.18.0.0/15', '198.51.100.0/24'],
  ...['203.0.113.0/24', '224.0.0.0/4', '240.0.0.0/4'],
  // IPv4 in the clothes of IPv6 among them, since what stands behind it is another's choice.
  ...['::/96', '64:ff9b::/96', '64:ff9b:1::/48', '100::/64', '2001::/23', '2001:db8::/32', '2002::/16'],
  ...['fc00::/7', 'fe80::/10', 'fec0::/10', 'ff00::/8'],
]);

function blocks(ranges: readonly string[]): BlockList {
  const list = new BlockList();
  for (const range of ranges) {
    const [net = '', bits] = range.split('/');
    list.addSubnet(net, Number(bits), isIP(net) === 6 ? 'ipv6' : 'ipv4');
  }
  return list;
}

/** Tells which addresses a URL may lead to. @param direct false behind a redirect, where another chose the URL */
export function allowedAddresses(url: URL, access: WebAccess, direct: boolean): (address: string) => boolean {
  const host = url.hostname.replace(/^\[|\]$/g, '').toLowerCase();
  const named = host === 'localhost' || host.endsWith('.localhost') || isIn(LOOPBACK, host);
  return (address) =>
    access === 'any' ||
    (access !== 'none' && isIP(address) !== 0 && !isIn(NOT_PUBLIC, address)) ||
    (access === 'local' && direct && named && isIn(LOOPBACK, address));
}

function isIn(list: BlockList, address: string): boolean {
  const kind = isIP(address);
  return kind !== 0 && list.check(address, kind === 6 ? 'ipv6' : 'ipv4');
}

/** An address that must not be asked. */
export class RefusedAddress extends Error {}

/**
 * Looks names up for a connection, and refuses one that leads to an address which is not allowed. The connection is made to the addresses that were looked
 * at: asked again, a name may lead elsewhere.
 */
export function checkedLookup(allowed: (address: string) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error) return callback(error, '');
      const wrong = found.find(({ address }) => !allowed(address));
      if (wrong) return callback(new RefusedAddress(`${hostname} leads to ${wrong.address}`), '');
      const [first] = found;
      if (options.all) callback(null, found);
      else callback(null, first!.address, first!.family);
    });
  };
}

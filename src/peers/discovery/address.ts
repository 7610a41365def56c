import { isIPv4, isIPv6 } from "node:net";

export interface Address {
  /** In lower case; IPv6 without brackets, in its shortest form, so that one machine has one spelling. */
  readonly host: string;
  readonly port: number;
}

/** `host:port` or `[IPv6]:port`; undefined for anything else. */
export function parseAddress(text: string): Address | undefined {
  const [, inBrackets, name, digits] = /^(?:\[([^\]]*)\]|([^:[\]]*)):(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (!(port >= 1 && port <= 65_535)) return undefined;
  if (inBrackets !== undefined) return isIPv6(inBrackets) ? { host: normalHost(inBrackets), port } : undefined;
  return isHostName(name!) ? { host: name!.toLowerCase(), port } : undefined;
}

/** The address of `http://host:port` or `https://host:port`, the scheme's own port where none is given; undefined for anything else. */
export function addressOfUrl(text: string): Address | undefined {
  if (!/^https?:\/\/[^/?#@]+\/?$/i.test(text) || !URL.canParse(text)) return undefined;
  const { protocol, hostname, port } = new URL(text);
  return parseAddress(`${hostname}:${port || (protocol === "https:" ? 443 : 80)}`);
}

/** `host:port`, IPv6 in brackets. */
export function formatAddress({ host, port }: Address): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}

/** A name as DNS and /etc/hosts have it, `_` included, or an IPv4 address. */
export function isHostName(text: string): boolean {
  if (text.length > 253 || !/^([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.?$/i.test(text)) return false;
  // No top-level domain is a number: 10.0.0.256 is a mistyped address.
  return isIPv4(text) || !/(^|\.)\d+\.?$/.test(text);
}

export function normalHost(host: string): string {
  // URL does not know the zones of link-local addresses.
  return isIPv6(host) && !host.includes("%") ? new URL(`http://[${host}]`).hostname.slice(1, -1) : host.toLowerCase();
}

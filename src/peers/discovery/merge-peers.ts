import { type Address, formatAddress } from "./address.js";
import type { FoundPeer } from "./found-peer.js";

/**
 * What all engines found as one list, in order of address: each id once, each address once, this process left out.
 * Of several addresses of one id the first counts, in the order of the lists. Where several ids claim one address (an old one
 * that has not run out yet, and its successor) the address is kept without any: the handshake tells whose it is.
 */
export function mergePeers(
  lists: readonly (readonly FoundPeer[])[],
  self: { readonly id: string } & Partial<Address>,
): readonly FoundPeer[] {
  const found = new Map<string, { readonly bare: FoundPeer; readonly claims: FoundPeer[] }>();
  const ids = new Set([self.id]);
  const { host, port } = self;
  const own = host === undefined || port === undefined ? undefined : formatAddress({ host, port });
  for (const peer of lists.flat()) {
    const address = formatAddress(peer);
    if (address === own || (peer.id !== undefined && ids.has(peer.id))) continue;
    const here = found.get(address) ?? { bare: { host: peer.host, port: peer.port }, claims: [] };
    found.set(address, here);
    if (peer.id === undefined) continue;
    ids.add(peer.id);
    here.claims.push(peer);
  }
  const inOrder = [...found].sort(([a], [b]) => (a < b ? -1 : 1));
  return inOrder.map(([, { bare, claims }]) => (claims.length === 1 ? claims[0]! : bare));
}

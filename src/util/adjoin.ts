/** One view of both where the second lies right behind the first in memory; undefined where it does not. */
export function adjoin(first: Uint8Array, second: Uint8Array): Uint8Array | undefined {
  const adjacent = first.buffer === second.buffer && first.byteOffset + first.length === second.byteOffset;
  return adjacent ? new Uint8Array(first.buffer, first.byteOffset, first.length + second.length) : undefined;
}

/** The same bytes in as few views as their memory allows. */
export function adjoinAll(parts: readonly Uint8Array[]): Uint8Array[] {
  const joined: Uint8Array[] = [];
  for (const part of parts) {
    const both = joined.length === 0 ? undefined : adjoin(joined.at(-1)!, part);
    if (both === undefined) joined.push(part);
    else joined[joined.length - 1] = both;
  }
  return joined;
}

/** Groups: the fixed, aligned pieces of an object version that peers own whole. */

/** As long as a wide read of the cache: what one request brings from the origin comes to lie with one peer. */
export const GROUP_BYTES: number = 8 * 2 ** 20;

/** The group that holds the byte at `offset` of an object. */
export function groupOf(offset: number): number {
  return Math.floor(offset / GROUP_BYTES);
}

/** Groups of an object of `size` bytes: the last one may be short, an empty object has none. */
export function groupCount(size: number): number {
  return Math.ceil(size / GROUP_BYTES);
}

/** Names a group among all objects. */
export function groupKey(objectId: string, group: number): string {
  return `${objectId}/${group}`;
}

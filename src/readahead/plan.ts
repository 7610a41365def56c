/** Which byte ranges to ask for: a pure function, tested without I/O. */

export interface ByteRange {
  /** Inclusive. */
  begin: number;
  /** Exclusive. */
  end: number;
}

/**
 * Joins ranges whose gaps cost less than a request of their own.
 *
 * `begins[i]`, `ends[i]` are ascending and do not overlap. `rangeOf[i]`, where given, is filled with the number of the range that holds item i.
 */
export function coalesce(begins: ArrayLike<number>, ends: ArrayLike<number>, maxGap: number, rangeOf?: Uint32Array): ByteRange[] {
  const ranges: ByteRange[] = [];
  let open: ByteRange | undefined;
  for (let i = 0; i < begins.length; i++) {
    if (open !== undefined && begins[i]! - open.end <= maxGap) open.end = Math.max(open.end, ends[i]!);
    else {
      open = { begin: begins[i]!, end: ends[i]! };
      ranges.push(open);
    }
    if (rangeOf !== undefined) rangeOf[i] = ranges.length - 1;
  }
  return ranges;
}

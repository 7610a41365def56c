/** Where a ceiling's ranges come from, and the loop that keeps several of them under way. */
import type { RecordRange } from "./layout.js";

export interface RangeSource {
  /** Fills the slot with the range. */
  read(range: RecordRange, slot: Buffer): Promise<void>;
  close(): Promise<void>;
}

/** Reads the ranges, `inFlight` at once, each into the next slot in turn, and hands each to `take`, in order. */
export async function readRanges(
  source: RangeSource,
  ranges: readonly RecordRange[],
  slots: readonly Buffer[],
  inFlight: number,
  take: (bytes: Buffer, range: RecordRange) => void,
): Promise<void> {
  const reads: Promise<void>[] = [];
  const slotOf = (number: number) => slots[number % slots.length]!.subarray(0, ranges[number]!.bytes);
  const start = (number: number) => {
    if (number < ranges.length) reads.push(source.read(ranges[number]!, slotOf(number)));
  };
  for (let number = 0; number < inFlight; number++) start(number);
  for (const [number, range] of ranges.entries()) {
    await reads.shift();
    take(slotOf(number), range);
    start(number + inFlight);
  }
}

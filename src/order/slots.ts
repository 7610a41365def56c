import { type Chunks, lastAtOrBelow } from "./chunks.js";
import { type Permutation, PURPOSE, permutation } from "./prp.js";

/** The chunks in an epoch's random order, laid end to end: slot s holds chunk `chunk(s)` at offsets `start(s)` … `start(s + 1)`. */
export interface Slots {
  readonly count: number;
  chunk(slot: number): number;
  /** Offset of the slot's first sample; `start(count)` is the sample count. */
  start(slot: number): number;
  /** The slot that holds the sample at an offset. */
  of(offset: number): number;
}

/** O(1) memory and time for chunks of equal size; prefix sums, O(chunks), for ragged ones. */
export function shuffledSlots(chunks: Chunks, seed: number, epoch: number): Slots {
  const shuffle = permutation(chunks.count, [seed, epoch, PURPOSE.chunks]);
  return chunks.uniformSize === undefined ? raggedSlots(chunks, shuffle) : uniformSlots(chunks, chunks.uniformSize, shuffle);
}

function uniformSlots(chunks: Chunks, chunkSamples: number, shuffle: Permutation): Slots {
  // The manifest's last chunk may be short, and any slot may hold it: the slots after it begin that much earlier.
  const shortSlot = shuffle.indexOf(chunks.count - 1);
  const missing = chunks.count * chunkSamples - chunks.sampleCount;
  const start = (slot: number) => slot * chunkSamples - (slot > shortSlot ? missing : 0);
  const afterShort = start(shortSlot + 1);
  return {
    count: chunks.count,
    chunk: (slot) => shuffle.at(slot),
    start,
    of: (offset) => Math.floor((offset < afterShort ? offset : offset + missing) / chunkSamples),
  };
}

function raggedSlots(chunks: Chunks, shuffle: Permutation): Slots {
  const starts = new Float64Array(chunks.count + 1);
  for (let slot = 0; slot < chunks.count; slot++) starts[slot + 1] = starts[slot]! + chunks.size(shuffle.at(slot));
  return {
    count: chunks.count,
    chunk: (slot) => shuffle.at(slot),
    start: (slot) => starts[slot]!,
    of: (offset) => lastAtOrBelow(starts, offset),
  };
}

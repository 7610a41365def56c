/** What a ceiling does with a range's records: the checksum that the format demands, and one copy into a batch. */
import { crc32c } from "@node-rs/crc32";
import { copyBytes, uninitializedBuffer } from "../../../src/util/copy-bytes.js";
import { Tally } from "../subject.js";
import type { Layout } from "./layout.js";

/** One that the loop looks at, one that is being filled. */
const REUSED_BATCHES = 2;

export type BatchMemory = "fresh" | "reused";

/** Counts samples where they lie: neither checksums nor copies. */
export function bareTally(bytes: Buffer, records: number, { recordBytes, headerBytes, sampleBytes }: Layout, tally: Tally): void {
  for (let record = 0; record < records; record++) {
    const begin = record * recordBytes + headerBytes;
    tally.add(bytes, begin, begin + sampleBytes);
  }
}

export class Batches {
  readonly tally: Tally = new Tally();
  readonly #layout: Layout;
  readonly #size: number;
  readonly #reused: readonly Buffer[];
  #batch: Buffer = Buffer.alloc(0);
  #batches = 0;
  #row: number;

  /** `size`: samples a batch. Reused memory is touched here, fresh memory when it is written. */
  constructor(layout: Layout, size: number, memory: BatchMemory) {
    this.#layout = layout;
    this.#size = size;
    this.#row = size;
    this.#reused = memory === "fresh" ? [] : Array.from({ length: REUSED_BATCHES }, () => Buffer.alloc(size * layout.sampleBytes, 1));
  }

  take(bytes: Buffer, records: number): void {
    for (let record = 0; record < records; record++) this.#takeRecord(bytes, record * this.#layout.recordBytes);
  }

  #takeRecord(bytes: Buffer, begin: number): void {
    const { headerBytes, sampleBytes, checksums } = this.#layout;
    const sample = bytes.subarray(begin + headerBytes, begin + headerBytes + sampleBytes);
    if (checksums && masked(crc32c(sample)) !== bytes.readUInt32LE(begin + headerBytes + sampleBytes))
      throw new Error("the checksum of a record does not match");
    if (this.#row === this.#size) this.#next();
    const at = this.#row++ * sampleBytes;
    copyBytes(this.#batch, at, sample);
    this.tally.add(this.#batch, at, at + sampleBytes);
  }

  #next(): void {
    // By default each batch is memory of its own, which the loop may keep.
    this.#batch = this.#reused[this.#batches++ % REUSED_BATCHES] ?? Buffer.from(uninitializedBuffer(this.#size * this.#layout.sampleBytes));
    this.#row = 0;
  }
}

function masked(crc: number): number {
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

/** Checksums of the pieces of each range, as a disk tier has them: remembered at the first reading, checked at the next ones. */
export class PieceChecksums {
  readonly #pieceBytes: number;
  readonly #known = new Map<unknown, number[]>();

  constructor(pieceBytes: number) {
    this.#pieceBytes = pieceBytes;
  }

  check(range: unknown, bytes: Buffer): void {
    const sums: number[] = [];
    for (let at = 0; at < bytes.length; at += this.#pieceBytes) sums.push(crc32c(bytes.subarray(at, at + this.#pieceBytes)));
    const known = this.#known.get(range);
    if (known === undefined) this.#known.set(range, sums);
    else if (sums.some((sum, i) => sum !== known[i])) throw new Error("the checksum of a piece does not match");
  }
}

/** What a ceiling does with a range's records: the checksum that the format demands, and one copy into a batch. */
import { type MessagePort, receiveMessageOnPort } from "node:worker_threads";
import { crc32c } from "@node-rs/crc32";
import { copyBytes, uninitializedBuffer } from "../../../src/util/copy-bytes.js";
import type { BatchMemory } from "../../subject/ceiling.js";
import type { Tally } from "../subject.js";
import type { FromEngine } from "./engine.js";
import type { Layout } from "./layout.js";

/** Counts samples where they lie: neither checksums nor copies. */
export function bareTally(bytes: Buffer, records: number, { recordBytes, headerBytes, sampleBytes }: Layout, tally: Tally): void {
  for (let record = 0; record < records; record++) {
    const begin = record * recordBytes + headerBytes;
    tally.add(bytes, begin, begin + sampleBytes);
  }
}

export class Batches {
  readonly #layout: Layout;
  readonly #size: number;
  readonly #reuses: boolean;
  readonly #port: MessagePort;
  readonly #returned: ArrayBuffer[] = [];
  #batch: Buffer | undefined;
  #row = 0;

  /** `size`: samples a batch. Full ones are posted to the port; where memory is reused they come back by it. */
  constructor(layout: Layout, size: number, memory: BatchMemory, port: MessagePort) {
    this.#layout = layout;
    this.#size = size;
    this.#reuses = memory === "reused";
    this.#port = port;
  }

  take(bytes: Buffer, records: number): void {
    for (let record = 0; record < records; record++) this.#takeRecord(bytes, record * this.#layout.recordBytes);
  }

  /** Posts the last batch, which may be short. */
  end(): void {
    if (this.#batch === undefined) return;
    const batch = this.#batch.buffer as ArrayBuffer;
    this.#port.postMessage({ batch, rows: this.#row } satisfies FromEngine, [batch]);
    this.#batch = undefined;
    this.#row = 0;
  }

  giveBack(memory: ArrayBuffer): void {
    this.#returned.push(memory);
  }

  #takeRecord(bytes: Buffer, begin: number): void {
    const { headerBytes, sampleBytes, checksums } = this.#layout;
    const sample = bytes.subarray(begin + headerBytes, begin + headerBytes + sampleBytes);
    if (checksums && masked(crc32c(sample)) !== bytes.readUInt32LE(begin + headerBytes + sampleBytes))
      throw new Error("the checksum of a record does not match");
    this.#batch ??= this.#next();
    copyBytes(this.#batch, this.#row++ * sampleBytes, sample);
    if (this.#row === this.#size) this.end();
  }

  #next(): Buffer {
    // A pass from memory never gets to the event loop: what has come back is taken here.
    if (this.#reuses)
      for (let came = receiveMessageOnPort(this.#port); came !== undefined; came = receiveMessageOnPort(this.#port))
        this.giveBack(came.message);
    return Buffer.from(this.#returned.pop() ?? uninitializedBuffer(this.#size * this.#layout.sampleBytes));
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

/** Bytes [begin, end) of one shard, held while a piece of them is in use. */
import type { SpanLease } from "../cache/tier-chain.js";
import type { BatchRows } from "./batch-rows.js";

export interface Held {
  /** Places the record at these bytes, of this sample, in a row of the batch. */
  place(begin: number, end: number, sample: number, batch: BatchRows, row: number): void;
  release(): void;
}

/** In the cache's blocks. */
export class HeldBlocks implements Held {
  readonly #span: SpanLease;
  readonly #blockSize: number;
  readonly #firstBlock: number;

  constructor(span: SpanLease, blockSize: number) {
    this.#span = span;
    this.#blockSize = blockSize;
    this.#firstBlock = Math.floor(span.begin / blockSize);
  }

  place(begin: number, end: number, sample: number, batch: BatchRows, row: number): void {
    const block = this.#span.leases[Math.floor(begin / this.#blockSize) - this.#firstBlock];
    if (block !== undefined && end <= block.begin + block.bytes.length)
      batch.place(row, sample, block.bytes, begin - block.begin, end - block.begin);
    // It lies across blocks.
    else batch.place(row, sample, this.#span.view(begin, end), 0, end - begin);
  }

  release(): void {
    this.#span.release();
  }
}

/** Of a compressed shard, inflated. */
export class HeldInflated implements Held {
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  place(begin: number, end: number, sample: number, batch: BatchRows, row: number): void {
    batch.place(row, sample, this.#bytes, begin, end);
  }

  release(): void {}
}

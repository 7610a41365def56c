/** The part of a shard that an index scan holds, and how much it reads next: headers alone only where that pays. */
import { throwIfAborted } from "../errors.js";
import type { ShardReader } from "./format.js";

export interface ScanSizes {
  /** Bytes of the first read: enough to see what records are like. */
  readonly probe: number;
  /** Reads end at multiples of this many bytes while records are small. */
  readonly dense: number;
  /** Bytes of a read that is made for one header. */
  readonly sparse: number;
  /** Headers are read one by one where records so far are longer than this on average. */
  readonly sparseAbove: number;
}

export const SCAN_SIZES: ScanSizes = {
  probe: 256 * 1024,
  dense: 4 * 2 ** 20,
  // One page: a tar member's extended headers come with its own.
  sparse: 4 * 1024,
  // A header read costs a round trip, say 30 ms, in which 90 MB/s bring 2.7 MB. Below that, reading on is as quick,
  // and what it reads is in the cache for the epoch.
  sparseAbove: 2 * 2 ** 20,
};

export class ScanWindow {
  /** Offset in the shard of `bytes[0]`. */
  begin = 0;
  bytes: Uint8Array = new Uint8Array(0);
  readonly #reader: ShardReader;
  readonly #sizes: ScanSizes;

  private constructor(reader: ShardReader, sizes: ScanSizes) {
    this.#reader = reader;
    this.#sizes = sizes;
  }

  /** A window that holds the first bytes of the shard. */
  static async open(reader: ShardReader, sizes: ScanSizes): Promise<ScanWindow> {
    const window = new ScanWindow(reader, sizes);
    if (reader.size > 0) await window.#read(0, sizes.probe);
    return window;
  }

  holds(position: number, length: number): boolean {
    return position >= this.begin && position + length <= this.begin + this.bytes.length;
  }

  /** Makes the window hold `length` bytes at `position`, or those up to the shard's end. `headers`: how many were seen before `position`. */
  async load(position: number, length: number, headers: number): Promise<void> {
    const { dense, sparse, sparseAbove } = this.#sizes;
    const large = headers > 0 && position / headers > sparseAbove;
    await this.#read(position, large ? position + Math.max(length, sparse) : Math.ceil((position + length) / dense) * dense);
  }

  async #read(begin: number, end: number): Promise<void> {
    throwIfAborted(this.#reader.signal, "Indexing a shard");
    this.bytes = await this.#reader.read(begin, Math.min(end, this.#reader.size));
    this.begin = begin;
  }
}

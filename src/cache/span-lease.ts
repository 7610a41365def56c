import type { BlockLease } from "../blocks/block-source.js";
import { adjoin } from "../util/adjoin.js";
import { copyBytes, uninitializedBuffer } from "../util/copy-bytes.js";

/** Bytes [begin, end) of one object, held until released. */
export interface SpanLease {
  readonly begin: number;
  readonly end: number;
  /** The blocks, or parts of blocks, that hold the bytes, in order; the first and last may reach beyond them. */
  readonly leases: readonly BlockLease[];
  /** The bytes: zero-copy where they lie in one piece of memory, else a joined copy. Valid until `release`. */
  view(begin: number, end: number): Uint8Array;
  /** Fills `target` with the bytes from `begin`, without joining them first; what lies there already is left as it is. */
  copyTo(begin: number, target: Uint8Array): void;
  /** Gives every block back. Calling it twice does nothing. */
  release(): void;
}

export class HeldSpan implements SpanLease {
  readonly begin: number;
  readonly end: number;
  readonly leases: readonly BlockLease[];
  readonly #firstBlock: number;
  readonly #blockSize: number;

  constructor(begin: number, end: number, leases: readonly BlockLease[], blockSize: number) {
    this.begin = begin;
    this.end = end;
    this.leases = leases;
    this.#firstBlock = Math.floor(begin / blockSize);
    this.#blockSize = blockSize;
  }

  view(begin: number, end: number): Uint8Array {
    this.#check(begin, end);
    const first = this.#indexOf(begin);
    const lease = this.leases[first];
    if (lease === undefined) return new Uint8Array(0);
    let bytes: Uint8Array | undefined = lease.bytes;
    for (let i = first + 1; bytes !== undefined && lease.begin + bytes.length < end; i++) bytes = adjoin(bytes, this.leases[i]!.bytes);
    if (bytes !== undefined) return bytes.subarray(begin - lease.begin, end - lease.begin);
    const joined = new Uint8Array(uninitializedBuffer(end - begin));
    this.copyTo(begin, joined);
    return joined;
  }

  copyTo(begin: number, target: Uint8Array): void {
    this.#check(begin, begin + target.length);
    let done = 0;
    for (let i = this.#indexOf(begin); done < target.length; i++) {
      const lease = this.leases[i]!;
      const from = begin + done - lease.begin;
      const part = lease.bytes.subarray(from, from + target.length - done);
      if (part.buffer !== target.buffer || part.byteOffset !== target.byteOffset + done) copyBytes(target, done, part);
      done += part.length;
    }
  }

  release(): void {
    for (const lease of this.leases) lease.release();
  }

  #indexOf(offset: number): number {
    return Math.floor(offset / this.#blockSize) - this.#firstBlock;
  }

  #check(begin: number, end: number): void {
    if (begin < this.begin || end > this.end || begin > end)
      throw new RangeError(`bytes ${begin} to ${end} are not in the span ${this.begin} to ${this.end}`);
  }
}

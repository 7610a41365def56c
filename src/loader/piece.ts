/**
 * A piece: the samples of one chunk that one rank needs in one window. Its bytes are fetched together and given back when its last sample is used.
 */
import type { Demand } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import { slotCost } from "../blocks/slab.js";
import type { BlockCache, SpanLease } from "../cache/tier-chain.js";
import { inflate } from "../formats/inflate.js";
import type { Manifest } from "../formats/manifest.js";
import { coalesce } from "../readahead/plan.js";
import type { FetchUnit } from "../readahead/scheduler.js";
import type { Urgency } from "../storage/priority.js";
import type { BatchRows } from "./batch-rows.js";
import { type Held, HeldBlocks, HeldInflated } from "./held-bytes.js";
import type { Rows } from "./rows.js";

/** What pieces of one dataset view share. */
export interface PieceSource {
  readonly manifest: Manifest;
  readonly rows: Rows;
  readonly cache: BlockCache;
  readonly object: (shard: number) => ObjectVersion;
  /** All of the dataset is read by this loader: what lies around a piece is wanted too. Default false. */
  readonly wide?: boolean | undefined;
  /** Told once a piece, when the loop first uses it, of what it took: read-ahead may be epochs ahead. */
  readonly served: NonNullable<Demand["served"]>;
}

/** A gap cheaper to read than to ask around: at 90 MB/s it takes 1.5 ms, a request of its own 30. */
const MAX_GAP = 128 * 1024;

type Served = Parameters<NonNullable<Demand["served"]>>;

interface ShardRange {
  readonly shard: number;
  readonly begin: number;
  readonly end: number;
}

export class Piece implements FetchUnit {
  /** What it takes of the cache's memory, rounding included; of compressed shards, the inflated bytes. */
  readonly bytes: number;
  readonly #source: PieceSource;
  readonly #first: number;
  readonly #ranges: ShardRange[] = [];
  /** By sample − first: the number of its range. */
  readonly #heldOf: Uint32Array;
  #held: Held[] = [];
  #accounts: Served[] = [];
  #inUse = false;
  /** Samples still to be used. */
  #remaining: number;

  /** `samples`: rows of the view, ascending, within [first, first + count). */
  constructor(source: PieceSource, first: number, count: number, samples: ArrayLike<number>) {
    this.#source = source;
    this.#first = first;
    this.#remaining = samples.length;
    this.#heldOf = new Uint32Array(count);
    this.bytes = this.#plan(samples);
  }

  async fetch(priority: Urgency, signal: AbortSignal): Promise<void> {
    const results = await Promise.allSettled(this.#ranges.map((range) => this.#hold(range, priority, signal)));
    const failed = results.find((result) => result.status === "rejected");
    this.#held = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    if (failed !== undefined) {
      this.release();
      throw failed.reason;
    }
  }

  /** What to fetch; of compressed shards, in inflated bytes. */
  ranges(): readonly ShardRange[] {
    return this.#ranges;
  }

  /** Places the record of a batch's row, one of its samples: in held memory, valid until the piece is released. */
  place(batch: BatchRows, row: number): void {
    const { manifest, rows } = this.#source;
    const index = batch.indices[row]!;
    const sample = rows.base(index);
    const held = this.#held[this.#heldOf[index - this.#first]!]!;
    held.place(manifest.recordBegin(sample), manifest.recordEnd(sample), sample, batch, row);
  }

  /** True once `taken`: its bytes are there, and nothing need be asked for. */
  get inUse(): boolean {
    return this.#inUse;
  }

  /** The loop begins to use it: its account is the loader's from here on. */
  taken(): void {
    this.#inUse = true;
    for (const account of this.#accounts.splice(0)) this.#source.served(...account);
  }

  /** One of its samples is used; true when it was the last. */
  used(): boolean {
    return --this.#remaining === 0;
  }

  release(): void {
    for (const held of this.#held) held.release();
    this.#held = [];
  }

  /** Joins the samples' records to ranges, shard by shard; returns the bytes they will take. */
  #plan(samples: ArrayLike<number>): number {
    const { manifest, rows } = this.#source;
    // A list of rows may go back and forth; the records of a shard are fetched together all the same.
    const ascending = rows.rank === undefined ? Float64Array.from(samples).sort((a, b) => rows.base(a) - rows.base(b)) : samples;
    let bytes = 0;
    for (let from = 0, to = 0; from < ascending.length; from = to) {
      const shard = manifest.shardOf(rows.base(ascending[from]!));
      do to++;
      while (to < ascending.length && manifest.shardOf(rows.base(ascending[to]!)) === shard);
      bytes += this.#planShard(shard, ascending, from, to);
    }
    return bytes;
  }

  /** Of the samples from the `from`-th to the `to`-th, which are in the shard; returns the bytes they will take. */
  #planShard(shard: number, samples: ArrayLike<number>, from: number, to: number): number {
    const { manifest, rows } = this.#source;
    const begins = new Float64Array(to - from);
    const ends = new Float64Array(to - from);
    const rangeOf = new Uint32Array(to - from);
    for (let i = from; i < to; i++) {
      const sample = rows.base(samples[i]!);
      begins[i - from] = manifest.recordBegin(sample);
      ends[i - from] = manifest.recordEnd(sample);
    }
    const whole = manifest.compressed(shard);
    const joined = whole ? [{ begin: 0, end: manifest.inflatedSize(shard) }] : coalesce(begins, ends, MAX_GAP, rangeOf);
    for (let i = from; i < to; i++) this.#heldOf[samples[i]! - this.#first] = this.#ranges.length + rangeOf[i - from]!;
    let bytes = 0;
    for (const { begin, end } of joined) {
      bytes += whole ? end - begin : this.#memory(begin, end);
      this.#ranges.push({ shard, begin, end });
    }
    return bytes;
  }

  /** What a range takes: its slots are parts of blocks, but whole blocks where a disk holds those. */
  #memory(begin: number, end: number): number {
    const { blockSize, disk } = this.#source.cache;
    const first = Math.floor(begin / blockSize);
    const blocks = Math.ceil(end / blockSize) - first;
    if (disk !== undefined) return blocks * blockSize;
    let bytes = 0;
    for (let block = first; block < first + blocks; block++)
      bytes += slotCost(Math.min(end, (block + 1) * blockSize) - Math.max(begin, block * blockSize));
    return bytes;
  }

  async #hold(range: ShardRange, priority: Urgency, signal: AbortSignal): Promise<Held> {
    const { manifest, cache, object, wide } = this.#source;
    const version = object(range.shard);
    const demand = { priority, signal, wide, served: (...account: Served) => this.#accounts.push(account) };
    if (!manifest.compressed(range.shard))
      return new HeldBlocks(await cache.acquire(version, range.begin, range.end, demand), cache.blockSize);
    const lease: SpanLease = await cache.acquire(version, 0, version.size, demand);
    try {
      return new HeldInflated(await inflate(lease.view(0, version.size), version.uri));
    } finally {
      lease.release();
    }
  }
}

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
import type { BatchRow } from "./assemble.js";
import type { Rows } from "./rows.js";

/** What pieces of one dataset view share. */
export interface PieceSource {
  readonly manifest: Manifest;
  readonly rows: Rows;
  readonly cache: BlockCache;
  readonly object: (shard: number) => ObjectVersion;
  /** Told once a piece, when the loop first uses it, of what it took: read-ahead may be epochs ahead. */
  readonly served: NonNullable<Demand["served"]>;
}

/** A gap cheaper to read than to ask around: at 90 MB/s it takes 1.5 ms, a request of its own 30. */
const MAX_GAP = 128 * 1024;

type Served = Parameters<NonNullable<Demand["served"]>>;

/** Bytes [begin, end) of one shard, held. */
interface Held {
  view(begin: number, end: number): Uint8Array;
  release(): void;
}

interface ShardRun {
  readonly shard: number;
  readonly begins: number[];
  readonly ends: number[];
}

/** Names are made when asked for: most rows are never named. */
class PieceRow implements BatchRow {
  readonly index: number;
  readonly bytes: Uint8Array;
  readonly #manifest: Manifest;
  readonly #sample: number;

  constructor(manifest: Manifest, sample: number, index: number, bytes: Uint8Array) {
    this.#manifest = manifest;
    this.#sample = sample;
    this.index = index;
    this.bytes = bytes;
  }

  get key(): string {
    return this.#manifest.key(this.#sample);
  }

  get shardPath(): string {
    return this.#manifest.path(this.#manifest.shardOf(this.#sample));
  }
}

export class Piece implements FetchUnit {
  /** What it takes of the cache's memory, rounding included; of compressed shards, the inflated bytes. */
  readonly bytes: number;
  readonly #source: PieceSource;
  readonly #first: number;
  readonly #runs: ShardRun[] = [];
  /** By sample − first: the number of its held range, counted over all runs. */
  readonly #heldOf: Uint32Array;
  #held: Held[] = [];
  #accounts: Served[] = [];
  /** Samples still to be used. */
  #remaining: number;

  /** `samples`: rows of the view, ascending, within [first, first + count). */
  constructor(source: PieceSource, first: number, count: number, samples: readonly number[]) {
    this.#source = source;
    this.#first = first;
    this.#remaining = samples.length;
    this.#heldOf = new Uint32Array(count);
    this.bytes = this.#plan(samples);
  }

  async fetch(priority: number, signal: AbortSignal): Promise<void> {
    const results = await Promise.allSettled(this.ranges().map((range) => this.#hold(range, priority, signal)));
    const failed = results.find((result) => result.status === "rejected");
    this.#held = results.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    if (failed !== undefined) {
      this.release();
      throw failed.reason;
    }
  }

  /** What to fetch; of compressed shards, in inflated bytes. */
  ranges(): { shard: number; begin: number; end: number }[] {
    return this.#runs.flatMap(({ shard, begins, ends }) => begins.map((begin, i) => ({ shard, begin, end: ends[i]! })));
  }

  /** A row of the view, with its record: a view into held memory, valid until the piece is released. */
  row(index: number): BatchRow {
    const { manifest, rows } = this.#source;
    const sample = rows.base(index);
    const held = this.#held[this.#heldOf[index - this.#first]!]!;
    return new PieceRow(manifest, sample, index, held.view(manifest.recordBegin(sample), manifest.recordEnd(sample)));
  }

  /** The loop begins to use it: its account is the loader's from here on. */
  taken(): void {
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

  /** Groups the samples by shard, in the order of their records; returns the bytes they will take. */
  #plan(samples: readonly number[]): number {
    const { manifest, rows } = this.#source;
    let run: (ShardRun & { readonly rows: number[] }) | undefined;
    const runs: (ShardRun & { readonly rows: number[] })[] = [];
    // A list of rows may go back and forth; the records of a shard are fetched together all the same.
    const ascending = rows.rank === undefined ? [...samples].sort((a, b) => rows.base(a) - rows.base(b)) : samples;
    for (const row of ascending) {
      const sample = rows.base(row);
      const shard = manifest.shardOf(sample);
      const begin = manifest.recordBegin(sample);
      if (run === undefined || run.shard !== shard) {
        run = { shard, begins: [], ends: [], rows: [] };
        runs.push(run);
      }
      run.begins.push(begin);
      run.ends.push(manifest.recordEnd(sample));
      run.rows.push(row);
    }
    let bytes = 0;
    let ranges = 0;
    for (const { shard, begins, ends, rows: members } of runs) {
      const rangeOf = new Uint32Array(members.length);
      const whole = manifest.compressed(shard);
      const joined = whole ? [{ begin: 0, end: manifest.inflatedSize(shard) }] : coalesce(begins, ends, MAX_GAP, rangeOf);
      for (let i = 0; i < members.length; i++) this.#heldOf[members[i]! - this.#first] = ranges + rangeOf[i]!;
      for (const { begin, end } of joined) bytes += whole ? end - begin : this.#memory(begin, end);
      ranges += joined.length;
      this.#runs.push({ shard, begins: joined.map((range) => range.begin), ends: joined.map((range) => range.end) });
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

  async #hold(range: { shard: number; begin: number; end: number }, priority: number, signal: AbortSignal): Promise<Held> {
    const { manifest, cache, object } = this.#source;
    const version = object(range.shard);
    const demand = { priority, signal, served: (...account: Served) => this.#accounts.push(account) };
    if (!manifest.compressed(range.shard)) return cache.acquire(version, range.begin, range.end, demand);
    const lease: SpanLease = await cache.acquire(version, 0, version.size, demand);
    try {
      const inflated = await inflate(lease.view(0, version.size), version.uri);
      return { view: (begin, end) => inflated.subarray(begin, end), release: () => {} };
    } finally {
      lease.release();
    }
  }
}

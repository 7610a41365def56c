/** Prefetching: what a job is going to read, read before it starts. Below the priority of any loop, with a strict account at its end. */
import pLimit from "p-limit";
import type { PrefetchReport } from "../api.js";
import { type ObjectVersion, objectVersion } from "../blocks/object-version.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import { EpochPieces } from "../loader/pieces.js";
import type { RunSetup } from "../loader/run.js";
import { EpochOrder } from "../order/epoch-order.js";
import type { ByteRange } from "../readahead/plan.js";
import { type Deferred, deferred } from "../util/deferred.js";
import { ProgressMeter } from "../util/progress-meter.js";
import type { CallContext } from "./rpc.js";
import type { FoundObject } from "./sources.js";

/** Bytes of one object, with the name the caller knows it by. */
export interface PrefetchItem {
  readonly path: string;
  readonly object: ObjectVersion;
  readonly ranges: readonly ByteRange[];
}

const PART_BYTES = 8 * 2 ** 20;
/** Parts in flight of one job: 64 MiB of working memory at most. */
const PARTS_AT_ONCE = 8;
/** Priorities of the stores' limiter: 0 demand, 1 read-ahead; prefetches share the rest around this one. */
const BASE_PRIORITY = 1_000_000;

/** A higher number goes first among prefetches, and none before a loop's reads. */
export function prefetchPriority(priority: number): number {
  return Math.max(2, BASE_PRIORITY - priority);
}

interface Tally {
  readonly item: PrefetchItem;
  bytes: number;
  alreadyCached: number;
  error: unknown;
}

export class PrefetchRun {
  readonly #cache: BlockCache;
  readonly #priority: number;
  #gate: Deferred<void> | undefined;

  constructor(cache: BlockCache, priority: number) {
    this.#cache = cache;
    this.#priority = prefetchPriority(priority);
  }

  pause(): void {
    this.#gate ??= deferred();
  }

  resume(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  /** Rejects only with MILLRACE_ABORTED. */
  async run(items: readonly PrefetchItem[], context: CallContext): Promise<PrefetchReport> {
    const meter = new ProgressMeter((progress) => context.progress(progress));
    meter.expect(
      items.length,
      items.reduce((sum, { ranges }) => sum + lengthOf(ranges), 0),
    );
    const limit = pLimit(PARTS_AT_ONCE);
    const release = () => this.resume();
    context.signal.addEventListener("abort", release, { once: true });
    const tallies = items.map((item): Tally => ({ item, bytes: 0, alreadyCached: 0, error: undefined }));
    await Promise.all(tallies.map((tally) => this.#object(tally, limit, meter, context.signal)));
    context.signal.removeEventListener("abort", release);
    throwIfAborted(context.signal, "The prefetch");
    meter.report();
    return report(tallies);
  }

  async #object(tally: Tally, limit: ReturnType<typeof pLimit>, meter: ProgressMeter, signal: AbortSignal): Promise<void> {
    const { object, ranges } = tally.item;
    const parts = ranges.flatMap(({ begin, end }) =>
      Array.from({ length: Math.ceil((end - begin) / PART_BYTES) }, (_, i) => begin + i * PART_BYTES).map((at) => ({
        begin: at,
        end: Math.min(end, at + PART_BYTES),
      })),
    );
    await Promise.all(parts.map((part) => limit(() => this.#part(tally, part, meter, signal))));
    // Bytes that found no room were read in vain: the caller must hear of it.
    const missing = lengthOf(ranges) - this.#cache.cachedBytes(object);
    if (tally.error === undefined && missing > 0)
      tally.error = new MillraceError(
        "MILLRACE_NO_SPACE",
        `${missing} of ${lengthOf(ranges)} bytes did not fit the cache; raise cache.memory or cache.disk, or the mount's share`,
      );
    meter.did(1, 0);
  }

  async #part(tally: Tally, { begin, end }: ByteRange, meter: ProgressMeter, signal: AbortSignal): Promise<void> {
    await this.#gate?.promise;
    if (signal.aborted || tally.error !== undefined) return;
    const served = (tier: string, bytes: number) => {
      if (tier === "memory" || tier === "disk") tally.alreadyCached += bytes;
      else tally.bytes += bytes;
    };
    try {
      (await this.#cache.acquire(tally.item.object, begin, end, { priority: this.#priority, signal, served })).release();
      meter.did(0, end - begin);
    } catch (error) {
      tally.error ??= error;
    }
  }
}

function report(tallies: readonly Tally[]): PrefetchReport {
  const failed = tallies.filter(({ error }) => error !== undefined);
  return {
    objects: tallies.length - failed.length,
    bytes: tallies.reduce((sum, { bytes }) => sum + bytes, 0),
    alreadyCached: tallies.reduce((sum, { alreadyCached }) => sum + alreadyCached, 0),
    failures: failed.map(({ item, error }) => ({
      path: item.path,
      code: error instanceof MillraceError ? error.code : "MILLRACE_UNAVAILABLE",
      message: error instanceof Error ? error.message : String(error),
    })),
  };
}

function lengthOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { begin, end }) => sum + end - begin, 0);
}

/** Whole objects. */
export function wholeObjects(found: readonly FoundObject[]): PrefetchItem[] {
  return found.map(({ place, stored }) => ({
    path: place.publicPath(stored.path),
    object: objectVersion(place.store, stored, place.rules),
    ranges: [{ begin: 0, end: stored.size }],
  }));
}

/** What a loader's first `steps` steps of an epoch read, as this rank reads it. */
export function loaderItems(setup: RunSetup, epoch: number, steps: number | undefined): PrefetchItem[] {
  const { source, order: spec, config } = setup;
  const { batchSize, worldSize, rank } = config;
  const end = steps === undefined ? spec.chunks.sampleCount : steps * batchSize * worldSize;
  const pieces = new EpochPieces(new EpochOrder(spec, epoch), source, 0, (position) => position < end && position % worldSize === rank);
  const byShard = new Map<number, ByteRange[]>();
  for (let next = pieces.next(); next.done !== true; next = pieces.next())
    for (const { shard, begin, end: to } of next.value.ranges()) {
      // Of a compressed shard nothing less than the whole can be read.
      const range = source.manifest.compressed(shard) ? { begin: 0, end: source.object(shard).size } : { begin, end: to };
      const ranges = byShard.get(shard);
      if (ranges === undefined) byShard.set(shard, [range]);
      else if (!source.manifest.compressed(shard)) ranges.push(range);
    }
  return [...byShard].map(([shard, ranges]) => ({ path: source.manifest.shard(shard).uri, object: source.object(shard), ranges }));
}

/** Prefetching: what a job is going to read, read before it starts. Below the priority of any loop, with a strict account at its end. */
import pLimit from "p-limit";
import type { PrefetchReport } from "../api.js";
import { type ObjectVersion, objectVersion } from "../blocks/object-version.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { isMillraceError, MillraceError, throwIfAborted } from "../errors.js";
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
function prefetchPriority(priority: number): number {
  return Math.max(2, BASE_PRIORITY - priority);
}

/** A path that no object could be found for, and why. */
export interface LostItem {
  readonly path: string;
  readonly error: unknown;
}

interface Tally {
  readonly item: PrefetchItem;
  /** Held before the first byte was asked for. */
  alreadyCached: number | undefined;
  fromDisk: number;
  fetched: number;
  error: unknown;
}

export class PrefetchRun {
  readonly #cache: BlockCache;
  readonly #priority: number;
  #gate: Deferred<void> | undefined;

  constructor(cache: BlockCache, { priority, paused }: { readonly priority: number; readonly paused: boolean }) {
    this.#cache = cache;
    this.#priority = prefetchPriority(priority);
    if (paused) this.pause();
  }

  pause(): void {
    this.#gate ??= deferred();
  }

  resume(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  /** Rejects only with MILLRACE_ABORTED, or MILLRACE_CLOSED where the mill is closed meanwhile. */
  async run(items: readonly PrefetchItem[], lost: readonly LostItem[], context: CallContext): Promise<PrefetchReport> {
    const meter = new ProgressMeter((progress) => context.progress(progress));
    meter.expect(
      items.length,
      items.reduce((sum, { ranges }) => sum + lengthOf(ranges), 0),
    );
    const limit = pLimit(PARTS_AT_ONCE);
    const release = () => this.resume();
    context.signal.addEventListener("abort", release, { once: true });
    const tallies = items.map((item): Tally => ({ item, alreadyCached: undefined, fromDisk: 0, fetched: 0, error: undefined }));
    await Promise.all(tallies.map((tally) => this.#object(tally, limit, meter, context.signal)));
    context.signal.removeEventListener("abort", release);
    throwIfAborted(context.signal, "The prefetch");
    const closed = tallies.find(({ error }) => isMillraceError(error, "MILLRACE_CLOSED"));
    if (closed !== undefined) throw closed.error;
    // Only now, when nothing of this job can push out what it brought before.
    for (const tally of tallies) tally.error ??= this.#lack(tally.item);
    meter.report();
    return report(tallies, lost);
  }

  async #object(tally: Tally, limit: ReturnType<typeof pLimit>, meter: ProgressMeter, signal: AbortSignal): Promise<void> {
    const parts = tally.item.ranges.flatMap(({ begin, end }) =>
      Array.from({ length: Math.ceil((end - begin) / PART_BYTES) }, (_, i) => begin + i * PART_BYTES).map((at) => ({
        begin: at,
        end: Math.min(end, at + PART_BYTES),
      })),
    );
    await Promise.all(parts.map((part) => limit(() => this.#part(tally, part, meter, signal))));
    meter.did(1, 0);
  }

  async #part(tally: Tally, { begin, end }: ByteRange, meter: ProgressMeter, signal: AbortSignal): Promise<void> {
    while (this.#gate !== undefined && !signal.aborted) await this.#gate.promise;
    if (signal.aborted || tally.error !== undefined) return;
    tally.alreadyCached ??= this.#held(tally.item);
    const served = (tier: string, bytes: number) => {
      if (tier === "origin" || tier === "peer") tally.fetched += bytes;
      if (tier === "disk") tally.fromDisk += bytes;
    };
    try {
      (await this.#cache.acquire(tally.item.object, begin, end, { priority: this.#priority, signal, served })).release();
      meter.did(0, end - begin);
    } catch (error) {
      tally.error ??= error;
    }
  }

  #held({ object, ranges }: PrefetchItem): number {
    return ranges.reduce((sum, { begin, end }) => sum + this.#cache.cachedBytes(object, begin, end), 0);
  }

  /** Bytes that found no room were read in vain: the caller must hear of it. */
  #lack(item: PrefetchItem): MillraceError | undefined {
    const { object, ranges } = item;
    const held = this.#held(item);
    const wanted = lengthOf(ranges);
    if (held >= wanted) return undefined;
    const message = `${wanted - held} of ${wanted} bytes did not fit the cache; raise cache.memory or cache.disk, or the mount's share`;
    return new MillraceError("MILLRACE_NO_SPACE", message, { uri: object.uri });
  }
}

/** What was there before: known at the start, or read from a disk where another process had put it. The rest was fetched. */
function account({ item, alreadyCached = 0, fromDisk, fetched, error }: Tally): { readonly bytes: number; readonly alreadyCached: number } {
  const before = Math.max(alreadyCached, fromDisk);
  return { alreadyCached: before, bytes: error === undefined ? lengthOf(item.ranges) - before : fetched };
}

function report(tallies: readonly Tally[], lost: readonly LostItem[]): PrefetchReport {
  const failed = [...lost, ...tallies.filter(({ error }) => error !== undefined).map(({ item, error }) => ({ path: item.path, error }))];
  return {
    objects: tallies.length + lost.length - failed.length,
    bytes: tallies.reduce((sum, tally) => sum + account(tally).bytes, 0),
    alreadyCached: tallies.reduce((sum, tally) => sum + account(tally).alreadyCached, 0),
    failures: failed.map(({ path, error }) => ({
      path,
      code: isMillraceError(error) ? error.code : "MILLRACE_UNAVAILABLE",
      message: error instanceof Error ? error.message : String(error),
    })),
  };
}

function lengthOf(ranges: readonly ByteRange[]): number {
  return ranges.reduce((sum, { begin, end }) => sum + end - begin, 0);
}

/** The same bytes in ascending order, each once. */
function merged(ranges: readonly ByteRange[]): ByteRange[] {
  const result: { begin: number; end: number }[] = [];
  for (const { begin, end } of [...ranges].sort((a, b) => a.begin - b.begin)) {
    const last = result.at(-1);
    if (last !== undefined && begin <= last.end) last.end = Math.max(last.end, end);
    else result.push({ begin, end });
  }
  return result;
}

/** Whole objects, each once however often it is named. */
export function wholeObjects(found: readonly FoundObject[]): PrefetchItem[] {
  const once = new Map(found.map((object) => [`${object.place.store.uri}/${object.stored.path}`, object]));
  return [...once.values()].map(({ place, stored }) => ({
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
      else ranges.push(range);
    }
  return [...byShard].map(([shard, ranges]) => ({
    path: source.manifest.shard(shard).uri,
    object: source.object(shard),
    ranges: merged(ranges),
  }));
}

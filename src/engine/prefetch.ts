/** Prefetching: what a job is going to read, read before it starts. Below the priority of any loop, with a strict account at its end. */
import pLimit from "p-limit";
import type { PrefetchReport } from "../api.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { isMillraceError, MillraceError, throwIfAborted } from "../errors.js";
import type { ByteRange } from "../readahead/plan.js";
import { type Deferred, deferred } from "../util/deferred.js";
import { ProgressMeter } from "../util/progress-meter.js";
import type { PeerNode } from "./peer-node.js";
import { type LostItem, merged, type PrefetchItem } from "./prefetch-items.js";
import { type AwayPart, byOwner, OwnersLoad } from "./prefetch-owners.js";
import type { CallContext } from "./rpc.js";

const PART_BYTES = 8 * 2 ** 20;
/** Parts in flight of one job: 64 MiB of working memory at most. */
const PARTS_AT_ONCE = 8;
/** Priorities of the stores' limiter: 0 demand, 1 read-ahead; prefetches share the rest around this one. */
const BASE_PRIORITY = 1_000_000;

/** A higher number goes first among prefetches, and none before a loop's reads. */
function prefetchPriority(priority: number): number {
  return Math.max(2, BASE_PRIORITY - priority);
}

interface Tally {
  /** What is loaded here of it. */
  readonly item: PrefetchItem;
  /** What its owners load. */
  readonly away: readonly AwayPart[];
  /** Held before the first byte was asked for. */
  alreadyCached: number | undefined;
  fromDisk: number;
  fetched: number;
  error: unknown;
  awayCached: number;
  awayFetched: number;
  /** One owner's failure keeps no other from loading. */
  awayError: unknown;
}

export interface PrefetchTerms {
  readonly priority: number;
  /** The job begins paused. */
  readonly paused: boolean;
  readonly scope: "process" | "cluster";
}

export class PrefetchRun {
  readonly #cache: BlockCache;
  readonly #peers: PeerNode | undefined;
  readonly #owners: OwnersLoad | undefined;
  readonly #priority: number;
  #gate: Deferred<void> | undefined;

  constructor(cache: BlockCache, peers: PeerNode | undefined, { priority, paused, scope }: PrefetchTerms) {
    this.#cache = cache;
    this.#peers = peers;
    this.#priority = prefetchPriority(priority);
    if (peers !== undefined && scope === "cluster") this.#owners = new OwnersLoad(peers, this.#priority);
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
    const tallies = items.flatMap((item) => this.#tally(item));
    meter.expect(
      tallies.length,
      tallies.reduce((sum, tally) => sum + wantedBy(tally), 0),
    );
    const limit = pLimit(PARTS_AT_ONCE);
    const release = () => this.resume();
    context.signal.addEventListener("abort", release, { once: true });
    await Promise.all(tallies.map((tally) => this.#object(tally, limit, meter, context.signal)));
    context.signal.removeEventListener("abort", release);
    throwIfAborted(context.signal, "The prefetch");
    const closed = tallies.flatMap(({ error, awayError }) => [error, awayError]).find((error) => isMillraceError(error, "MILLRACE_CLOSED"));
    if (closed !== undefined) throw closed;
    // Only now, when nothing of this job can push out what it brought before.
    for (const tally of tallies) tally.error ??= tally.awayError ?? this.#lack(tally.item);
    meter.report();
    return report(tallies, lost);
  }

  /** None where the item is all other nodes' and they are not to load it. */
  #tally(item: PrefetchItem): Tally[] {
    const { own, away } = byOwner(item.object, item.ranges, this.#peers);
    const asked = this.#owners === undefined ? [] : away;
    if (own.length === 0 && asked.length === 0) return [];
    return [
      {
        item: { ...item, ranges: merged(own) },
        away: asked,
        alreadyCached: undefined,
        fromDisk: 0,
        fetched: 0,
        error: undefined,
        awayCached: 0,
        awayFetched: 0,
        awayError: undefined,
      },
    ];
  }

  async #object(tally: Tally, limit: ReturnType<typeof pLimit>, meter: ProgressMeter, signal: AbortSignal): Promise<void> {
    const parts = tally.item.ranges.flatMap(({ begin, end }) =>
      Array.from({ length: Math.ceil((end - begin) / PART_BYTES) }, (_, i) => begin + i * PART_BYTES).map((at) => ({
        begin: at,
        end: Math.min(end, at + PART_BYTES),
      })),
    );
    const owners = this.#owners;
    const here = parts.map((part) => limit(() => this.#part(tally, part, meter, signal)));
    const away = tally.away.map((part) => owners?.inTurn(part, () => this.#away(tally, part, owners, meter, signal)));
    await Promise.all([...here, ...away]);
    meter.did(1, 0);
  }

  async #away(tally: Tally, part: AwayPart, owners: OwnersLoad, meter: ProgressMeter, signal: AbortSignal): Promise<void> {
    while (this.#gate !== undefined && !signal.aborted) await this.#gate.promise;
    if (signal.aborted) return;
    const { object } = tally.item;
    const wanted = part.end - part.begin;
    try {
      const { before, bytes } = await owners.load(object, part, signal);
      tally.awayCached += Math.min(before, wanted);
      tally.awayFetched += Math.max(0, Math.min(bytes, wanted) - before);
      if (bytes < wanted) tally.awayError ??= noRoom(object, wanted - bytes, wanted, `the cache of node ${part.owner.id}`);
      meter.did(0, wanted);
    } catch (error) {
      tally.awayError ??= error;
    }
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
    return noRoom(object, wanted - held, wanted, "the cache");
  }
}

function noRoom({ uri }: ObjectVersion, lacking: number, wanted: number, where: string): MillraceError {
  const message = `${lacking} of ${wanted} bytes did not fit ${where}; raise cache.memory or cache.disk there, or the mount's share`;
  return new MillraceError("MILLRACE_NO_SPACE", message, { uri });
}

/** What was there before: known at the start, or read from a disk where another process had put it. The rest was fetched. */
function account(tally: Tally): { readonly bytes: number; readonly alreadyCached: number } {
  const { alreadyCached = 0, fromDisk, fetched, error, awayCached, awayFetched } = tally;
  const before = Math.max(alreadyCached, fromDisk) + awayCached;
  return { alreadyCached: before, bytes: error === undefined ? wantedBy(tally) - before : fetched + awayFetched };
}

/** Here and away. */
function wantedBy({ item, away }: Tally): number {
  return lengthOf(item.ranges) + lengthOf(away);
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

/** What a prefetch is to load: whole objects, or what a loader's steps read of them. */
import { type ObjectVersion, objectVersion } from "../blocks/object-version.js";
import { EpochPieces } from "../loader/pieces.js";
import type { RunSetup } from "../loader/run.js";
import { EpochOrder } from "../order/epoch-order.js";
import type { ByteRange } from "../readahead/plan.js";
import type { FoundObject } from "./sources.js";

/** Bytes of one object, with the name the caller knows it by. */
export interface PrefetchItem {
  readonly path: string;
  readonly object: ObjectVersion;
  readonly ranges: readonly ByteRange[];
}

/** A path that no object could be found for, and why. */
export interface LostItem {
  readonly path: string;
  readonly error: unknown;
}

/** The same bytes in ascending order, each once. */
export function merged(ranges: readonly ByteRange[]): ByteRange[] {
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

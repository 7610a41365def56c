/** What the choice of an order depends on: the manifest and the selection, nothing else, so that every process finds the same. */
import type { Manifest } from "../formats/manifest.js";
import { chooseOrder, type OrderSpec } from "../order/spec.js";
import type { LoaderConfig } from "./loader-options.js";
import type { Rows } from "./rows.js";

/** What the samples of a view take as records, bytes. */
export interface ViewSizes {
  readonly byteLength: number;
  readonly maxSampleBytes: number;
}

/** Looks at every row. */
export function viewSizes(manifest: Manifest, rows: Rows): ViewSizes {
  let byteLength = 0;
  let maxSampleBytes = 0;
  for (let row = 0; row < rows.count; row++) {
    const sample = rows.base(row);
    const bytes = manifest.recordEnd(sample) - manifest.recordBegin(sample);
    byteLength += bytes;
    if (bytes > maxSampleBytes) maxSampleBytes = bytes;
  }
  return { byteLength, maxSampleBytes };
}

/** Compressed shards are read whole: each is a chunk. Where the rows do not ascend there is no such thing, and chunks are of equal count. */
function shardChunks(manifest: Manifest, rows: Rows): { raggedStarts: Float64Array; raggedMaxBytes: number } | undefined {
  if (rows.rank === undefined || !anyCompressed(manifest)) return undefined;
  const starts: number[] = [0];
  let raggedMaxBytes = 0;
  for (let shard = 0; shard < manifest.shardCount; shard++) {
    raggedMaxBytes = Math.max(raggedMaxBytes, manifest.inflatedSize(shard));
    const end = shard + 1 < manifest.shardCount ? rows.rank(manifest.shardFirst(shard + 1)) : rows.count;
    if (end > starts.at(-1)!) starts.push(end);
  }
  return { raggedStarts: Float64Array.from(starts), raggedMaxBytes };
}

/** Whether there are shards that can only be read whole. */
export function anyCompressed(manifest: Manifest): boolean {
  for (let shard = 0; shard < manifest.shardCount; shard++) if (manifest.compressed(shard)) return true;
  return false;
}

/** The order of a view under a loader's options; `sizes` where they are known already. Throws MILLRACE_CONFIG where the windows do not fit their memory. */
export function orderOf(
  manifest: Manifest,
  rows: Rows,
  config: Pick<LoaderConfig, "shuffle" | "lanes">,
  sizes: ViewSizes = viewSizes(manifest, rows),
): OrderSpec {
  return chooseOrder(
    { sampleCount: rows.count, ...sizes, ...shardChunks(manifest, rows) },
    { shuffle: config.shuffle, lanes: config.lanes },
  );
}

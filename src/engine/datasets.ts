/** Opening a dataset: find its objects, infer its format, index its shards, number its samples. */
import pLimit from "p-limit";
import type { Fields } from "../api.js";
import { type ObjectVersion, objectVersion } from "../blocks/object-version.js";
import type { MetadataCache } from "../cache/metadata-cache.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { isMillraceError, MillraceError } from "../errors.js";
import { classesOf } from "../formats/files.js";
import type { RecordFormat, RecordIndex } from "../formats/format.js";
import { chooseShards } from "../formats/infer.js";
import { Manifest } from "../formats/manifest.js";
import { checkFields } from "../loader/fit.js";
import type { OpenDataset } from "../loader/protocol.js";
import { buildRows, type Rows, type RowsStep } from "../loader/rows.js";
import { formatBytes } from "../util/byte-size.js";
import { combinedSignal } from "../util/combined-signal.js";
import { ProgressMeter } from "../util/progress-meter.js";
import { keptFields } from "./kept-fields.js";
import type { CallContext } from "./rpc.js";
import { ShardIndexes, sidecarsOf } from "./shard-index.js";
import type { FoundObject, Sources } from "./sources.js";

/** Shards indexed at once: enough to hide the round trips of header-by-header reads; the stores' limiter holds for all together. */
const SHARDS_AT_ONCE = 32;

export interface EngineDataset {
  readonly name: string;
  readonly manifest: Manifest;
  readonly format: RecordFormat;
  readonly fields: Fields;
  object(shard: number): ObjectVersion;
  rows(steps: readonly RowsStep[]): Rows;
}

export interface DatasetOpener {
  readonly sources: Sources;
  readonly metadata: MetadataCache;
  readonly cache: BlockCache;
  readonly maxRecordBytes: number;
  readonly warn: (fields: object, message: string) => void;
}

/** `firstFields` finds the fields of the first record where the caller declared none, and tries those that were declared. */
export type ProbeFields = (dataset: Omit<EngineDataset, "fields">, declared: Fields | undefined, signal: AbortSignal) => Promise<Fields>;

export async function openDataset(
  opener: DatasetOpener,
  request: OpenDataset,
  probe: ProbeFields,
  context: CallContext,
): Promise<EngineDataset> {
  if (request.fields !== undefined) checkFields(request.fields);
  const name = typeof request.source === "string" ? request.source : (request.source[0] ?? "source");
  const found = await opener.sources.find(request.source, context.signal);
  const { format, shards } = chooseShards(found, ({ stored }) => stored.path, request.format);
  const version = ({ place, stored }: FoundObject, id?: string) => objectVersion(place.store, stored, place.rules, id);
  const ids = shards.map((shard) => version(shard).id);
  const object = (shard: number) => version(shards[shard]!, ids[shard]);
  for (const shard of shards.keys()) opener.cache.refer(object(shard));
  try {
    return await indexed(opener, request, probe, context, { name, found, format, shards, object });
  } catch (error) {
    for (const id of ids) opener.cache.unrefer(id);
    throw error;
  }
}

interface Chosen {
  readonly name: string;
  readonly found: readonly FoundObject[];
  readonly format: RecordFormat;
  readonly shards: readonly FoundObject[];
  readonly object: (shard: number) => ObjectVersion;
}

async function indexed(
  opener: DatasetOpener,
  request: OpenDataset,
  probe: ProbeFields,
  context: CallContext,
  { name, found, format, shards, object }: Chosen,
): Promise<EngineDataset> {
  if (format.wholeObjects === true) checkSizes(shards, opener.maxRecordBytes);
  const indexes =
    format.wholeObjects === true ? undefined : await indexAll(opener, request, format, shards, sidecarFinder(opener, found), context);
  const manifest = Manifest.build({
    format: format.name,
    root: shards[0]!.place.store.uri,
    shards: shards.map(({ stored, place }, i) => ({ stored, index: indexes?.[i], root: place.store.uri })),
    classes: format.name === "files" ? (request.classes ?? classesOf(shards.map(({ stored }) => stored.path))) : request.classes,
  });
  if (manifest.sampleCount === 0)
    throw new MillraceError("MILLRACE_FORMAT", `${name}: the dataset is empty: ${shards.length} shards hold no record`);
  const dataset = { name, manifest, format, object, rows: (steps: readonly RowsStep[]) => buildRows(manifest, steps) };
  const { fields: declared } = request;
  const fields = await keptFields(opener.metadata, dataset, declared, () => probe(dataset, declared, context.signal));
  return { ...dataset, fields };
}

/** Whole objects are not indexed: their size is known without. */
function checkSizes(shards: readonly FoundObject[], maxRecordBytes: number): void {
  const long = shards.find(({ stored }) => stored.size > maxRecordBytes);
  if (long === undefined) return;
  const { place, stored } = long;
  throw new MillraceError(
    "MILLRACE_CORRUPT",
    `${place.publicPath(stored.path)}: ${formatBytes(stored.size)} in one sample is more than limits.maxRecordBytes (${formatBytes(maxRecordBytes)})`,
    { uri: `${place.store.uri}/${stored.path}` },
  );
}

async function indexAll(
  opener: DatasetOpener,
  request: OpenDataset,
  format: RecordFormat,
  shards: readonly FoundObject[],
  sidecar: (path: string, near: FoundObject) => Promise<{ object: ObjectVersion } | undefined>,
  context: CallContext,
): Promise<RecordIndex[]> {
  const meter = new ProgressMeter((progress) => context.progress(progress));
  meter.expect(
    shards.length,
    shards.reduce((sum, { stored }) => sum + stored.size, 0),
  );
  const indexes = new ShardIndexes(opener.cache, opener.metadata);
  const limit = pLimit(SHARDS_AT_ONCE);
  // One shard's failure ends the others: what they would find is not wanted any more.
  const abort = new AbortController();
  const signal = combinedSignal(context.signal, abort.signal);
  try {
    return await Promise.all(
      shards.map((shard) =>
        limit(async () => {
          const object = objectVersion(shard.place.store, shard.stored, shard.place.rules);
          const index = await indexes.index({
            object,
            format,
            onError: request.onError,
            maxRecordBytes: opener.maxRecordBytes,
            sidecar: (path) => sidecar(path, shard),
            signal,
          });
          if (index.damage !== undefined)
            opener.warn(
              { uri: object.uri, offset: index.damage.offset, records: index.begins.length },
              `${object.uri}: ${index.damage.message}; the records after byte ${index.damage.offset} are left out`,
            );
          if (index.note !== undefined) opener.warn({ uri: object.uri }, `${object.uri}: ${index.note}`);
          meter.did(1, object.size);
          return index;
        }),
      ),
    );
  } catch (error) {
    abort.abort(error);
    throw error;
  } finally {
    meter.report();
  }
}

/** Sidecars by listing where there was one; by asking (and remembering a no) where shards were named one by one. */
function sidecarFinder(opener: DatasetOpener, found: readonly FoundObject[]) {
  const listed = sidecarsOf(found);
  const byPath = new Map(found.filter(({ stored }) => listed.has(stored.path)).map((object) => [object.stored.path, object]));
  return async (path: string, near: FoundObject): Promise<{ object: ObjectVersion } | undefined> => {
    const known = byPath.get(path);
    if (known !== undefined) return { object: objectVersion(known.place.store, known.stored, known.place.rules) };
    if (near.listed) return undefined;
    const { store, rules } = near.place;
    try {
      return { object: objectVersion(store, await opener.metadata.stat(store, path, {}), rules) };
    } catch (error) {
      if (isMillraceError(error, "MILLRACE_NOT_FOUND") || isMillraceError(error, "MILLRACE_PERMISSION")) return undefined;
      throw error;
    }
  };
}

/** Finds the files of a checkpoint and reads their headers: two small requests a file, and no data. */
import type { ObjectInfo, Watch } from "../api.js";
import { isMillraceError, MillraceError } from "../errors.js";
import { ProgressMeter } from "../util/progress-meter.js";
import { parseShardIndex } from "./checkpoint-index.js";
import { checkWatch } from "./checkpoint-options.js";
import { type Call, type CheckpointFile, LoadedCheckpoint } from "./load.js";
import { inOrder } from "./read-ahead.js";
import { headerLength, LENGTH_BYTES, parseHeader, refusal } from "./safetensors.js";
import { quoted } from "./strict-json.js";

const INDEX = ".index.json";
/** Read at once, since most headers are shorter: one of 64 KiB describes some 500 tensors. */
const FIRST_BYTES = 64 * 1024;
/** Headers that are read at once: an index names up to some hundred files. */
const FILES_AT_ONCE = 16;
/** Longer than any index: one of 100 MB would name a million tensors. */
const MAX_INDEX_BYTES = 100_000_000;

/** Of a checkpoint that is saved anew again and again while it is opened. */
const MOST_TRIES = 3;

/** See `Millrace.checkpoint`. */
export async function openCheckpoint(call: Call, source: string, watch: Watch): Promise<LoadedCheckpoint> {
  if (typeof source !== "string")
    throw new MillraceError("MILLRACE_CONFIG", "source: expected the path of a safetensors file or of its index");
  checkWatch(watch);
  for (let tries = 1; ; tries++)
    try {
      return await openEither(call, source, watch);
    } catch (error) {
      if (tries === MOST_TRIES || !isMillraceError(error, "MILLRACE_CHANGED")) throw error;
    }
}

/** The file, or where there is none its index. */
async function openEither(call: Call, source: string, watch: Watch): Promise<LoadedCheckpoint> {
  try {
    return await open(call, source, watch);
  } catch (error) {
    if (!isMillraceError(error, "MILLRACE_NOT_FOUND") || source.endsWith(INDEX) || !(await isThere(call, source + INDEX, watch)))
      throw error;
    return open(call, source + INDEX, watch);
  }
}

async function isThere(call: Call, path: string, { signal }: Watch): Promise<boolean> {
  return call("stat", { path, fresh: true }, { signal }).then(
    () => true,
    () => false,
  );
}

async function open(call: Call, source: string, { signal, onProgress }: Watch): Promise<LoadedCheckpoint> {
  const meter = new ProgressMeter(onProgress);
  const index = source.endsWith(INDEX) ? await readIndex(call, source, signal) : undefined;
  const headers = [...(index?.files.keys() ?? [source])].map((path) => ({
    bytes: FIRST_BYTES,
    run: (either: AbortSignal) =>
      readHeader(call, path, either, meter).catch(async (error) => {
        throw index === undefined ? error : await missingShard(call, error, path, index, either);
      }),
  }));
  meter.expect(headers.length, 0);
  const files: CheckpointFile[] = [];
  for await (const file of inOrder(headers, FILES_AT_ONCE * FIRST_BYTES, signal)) files.push(file);
  if (index !== undefined) checkIndex(files, [...index.files.values()], source);
  meter.report();
  return new LoadedCheckpoint(call, source, files);
}

/** The shards of a checkpoint go when it is saved anew; else the caller knows the index, and maybe not the files that it names. */
async function missingShard(call: Call, error: unknown, path: string, { info, files }: Index, signal: AbortSignal): Promise<unknown> {
  if (!isMillraceError(error, "MILLRACE_NOT_FOUND")) return error;
  const { path: index, etag } = info;
  const now = await call("stat", { path: index, fresh: true }, { signal }).catch(() => undefined);
  if ((now as ObjectInfo | undefined)?.etag !== etag)
    return new MillraceError("MILLRACE_CHANGED", `${index}: was saved anew while it was opened: open it again`, { cause: error });
  const [first, ...others] = files.get(path)!;
  const wanted = `tensor ${quoted(first!)}${others.length > 0 ? ` and ${others.length} more` : ""}`;
  return new MillraceError("MILLRACE_NOT_FOUND", `${index}: ${path}, which it names for ${wanted}, is not there`, { cause: error });
}

interface Index {
  readonly info: ObjectInfo;
  /** That it names, in ascending order, each with the tensors it is said to have. */
  readonly files: ReadonlyMap<string, ReadonlySet<string>>;
}

async function readIndex(call: Call, index: string, signal: AbortSignal | undefined): Promise<Index> {
  const info = (await call("stat", { path: index, fresh: true }, { signal })) as ObjectInfo;
  if (info.size > MAX_INDEX_BYTES) throw refusal(index, `an index of ${info.size} bytes is longer than the ${MAX_INDEX_BYTES} allowed`);
  const bytes = (await call("read", { path: index, begin: 0, end: info.size, version: info }, { signal })) as Uint8Array;
  const folder = index.slice(0, index.lastIndexOf("/") + 1);
  const files = new Map<string, Set<string>>();
  for (const [tensor, name] of parseShardIndex(bytes, index)) {
    const tensors = files.get(name);
    if (tensors === undefined) files.set(name, new Set([tensor]));
    else tensors.add(tensor);
  }
  const sorted = [...files].sort(([a], [b]) => (a < b ? -1 : 1));
  return { info, files: new Map(sorted.map(([name, tensors]) => [folder + name, tensors])) };
}

/** Every tensor is where the index says, and none is where it does not. */
function checkIndex(files: readonly CheckpointFile[], named: readonly ReadonlySet<string>[], index: string): void {
  for (const [i, { info, tensors }] of files.entries()) {
    const has = new Set(tensors.map(({ name }) => name));
    for (const name of named[i]!)
      if (!has.has(name)) throw refusal(index, `tensor ${quoted(name)}: weight_map says that it is in ${info.path}, which lacks it`);
    for (const name of has)
      if (!named[i]!.has(name)) throw refusal(index, `tensor ${quoted(name)}: it is in ${info.path}, but weight_map does not say so`);
  }
}

async function readHeader(call: Call, path: string, signal: AbortSignal, meter: ProgressMeter): Promise<CheckpointFile> {
  const info = (await call("stat", { path, fresh: true }, { signal })) as ObjectInfo;
  const read = async (begin: number, end: number): Promise<Uint8Array> =>
    (await call("read", { path, begin, end, version: info }, { signal })) as Uint8Array;
  let bytes = await read(0, Math.min(info.size, FIRST_BYTES));
  const end = LENGTH_BYTES + headerLength(bytes, info.size, path);
  if (end > bytes.length) bytes = Buffer.concat([bytes, await read(bytes.length, end)]);
  const { metadata, tensors } = parseHeader(bytes, info.size, path);
  meter.expect(0, end);
  meter.did(1, end);
  return { info, metadata, tensors };
}

/** What a checkpoint's files will hold, before any of it is written. Pure: no I/O, and no copy of a tensor. */
import type { NamedTensor } from "../api.js";
import { MillraceError } from "../errors.js";
import { compareUtf8 } from "../util/utf8-order.js";
import { bytesOf } from "./named-tensor.js";
import { formatHeader } from "./safetensors.js";
import { quoted } from "./strict-json.js";

export interface PlannedFile {
  readonly path: string;
  readonly size: number;
  /** Its bytes, one after the other: views of the caller's memory among them. */
  readonly pieces: readonly Uint8Array[];
}

export interface SavePlanOptions {
  readonly metadata: Readonly<Record<string, string>> | undefined;
  /** Bytes of tensors in one file at most, but for a tensor that is longer. Default: one file, whatever its size. */
  readonly maxShardBytes: number | undefined;
  /** Eight hex digits: keeps the shards of this save apart from those of an earlier one of the same name, which stay whole until this one is. */
  readonly tag: string;
}

/** More would need longer numbers in their names. */
const MAX_SHARDS = 99_999;
const FILE = ".safetensors";
const INDEX = ".index.json";

/**
 * The files of a checkpoint in the order in which they are to be written: one canonical safetensors file; or with `maxShardBytes`, or for a `target`
 * that ends in `.index.json`, shards and last their index, `<name>.safetensors.index.json`. Throws MILLRACE_CONFIG, naming the tensor.
 */
export function planSave(target: string, tensors: readonly NamedTensor[], options: SavePlanOptions): PlannedFile[] {
  const { metadata, maxShardBytes = Number.POSITIVE_INFINITY, tag } = options;
  const bytes = tensors.map((tensor, i) => bytesOf(tensor, i));
  if (options.maxShardBytes === undefined && !target.endsWith(INDEX)) return [planFile(target, tensors, bytes, metadata)];
  const index = target.endsWith(INDEX) ? target : `${target}${INDEX}`;
  const folder = index.slice(0, index.lastIndexOf("/") + 1);
  const stem = index.slice(folder.length, -INDEX.length).replace(/\.safetensors$/, "");
  const shards = inShards(formatHeader(tensors).order, bytes, maxShardBytes);
  if (shards.length > MAX_SHARDS)
    throw new MillraceError("MILLRACE_CONFIG", `maxShardBytes: ${shards.length} files are too many; raise it`);
  const number = (n: number) => String(n).padStart(5, "0");
  const weightMap: [string, string][] = [];
  const files = shards.map((shard, i) => {
    const name = `${stem}-${tag}-${number(i + 1)}-of-${number(shards.length)}${FILE}`;
    for (const n of shard) weightMap.push([tensors[n]!.name, name]);
    const [part, data] = [shard.map((n) => tensors[n]!), shard.map((n) => bytes[n]!)];
    return planFile(folder + name, part, data, metadata);
  });
  weightMap.sort(([a], [b]) => compareUtf8(a, b));
  const totalSize = bytes.reduce((sum, { length }) => sum + length, 0);
  const json = JSON.stringify({ metadata: { total_size: totalSize }, weight_map: Object.fromEntries(weightMap) }, undefined, 2);
  const text = new TextEncoder().encode(`${json}\n`);
  return [...files, { path: index, size: text.length, pieces: [text] }];
}

function planFile(
  path: string,
  tensors: readonly NamedTensor[],
  bytes: readonly Uint8Array[],
  metadata: SavePlanOptions["metadata"],
): PlannedFile {
  const header = formatHeader(tensors, metadata);
  for (const [n, entry] of header.sizes.entries()) if (entry !== bytes[n]!.length) throw wrongLength(tensors[n]!, entry, bytes[n]!.length);
  const pieces = [header.bytes, ...header.order.map((n) => bytes[n]!)];
  return { path, size: header.bytes.length + header.dataBytes, pieces };
}

/** In this order, as many to a shard as it holds. One shard at least, so that no tensors at all make a checkpoint too. */
function inShards(order: readonly number[], bytes: readonly Uint8Array[], most: number): number[][] {
  const shards: number[][] = [[]];
  let size = 0;
  for (const n of order) {
    const { length } = bytes[n]!;
    if (size + length > most && shards.at(-1)!.length > 0) {
      shards.push([]);
      size = 0;
    }
    shards.at(-1)!.push(n);
    size += length;
  }
  return shards;
}

function wrongLength({ name, dtype, shape }: NamedTensor, expected: number, given: number): MillraceError {
  const message = `tensor ${quoted(name)}: ${dtype} [${shape}] takes ${expected} bytes, but its data has ${given}`;
  return new MillraceError("MILLRACE_CONFIG", message);
}

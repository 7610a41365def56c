/** Which format a dataset has, by the names of its objects, and which of the objects are its shards. */
import { MillraceError } from "../errors.js";
import { files } from "./files.js";
import type { RecordFormat } from "./format.js";
import { baseName, isData } from "./names.js";
import { tfrecord } from "./tfrecord.js";
import { webdataset } from "./webdataset.js";

/** Formats that hold many records an object, in the order they are asked; `files` is what is left. */
const SHARDED: readonly RecordFormat[] = [tfrecord, webdataset];
const FORMATS: readonly RecordFormat[] = [...SHARDED, files];

/** Texts that writers put beside shards (TFDS: dataset_info.json, label.labels.txt): no samples where there are shards. */
const COMPANION = /\.(json|txt|md|yaml|yml|pbtxt|html)$/i;
/** Containers of many samples that are not read yet: handing each out as one sample would only hide the mistake. */
const UNREAD = /\.(parquet|arrow|feather|mds|mdb|jsonl|ndjson|(tar|tfrecords?|tfrec|mds)\.(zst|zstd|xz|bz2|br|snappy))$/i;

/** Throws MILLRACE_CONFIG for a name that is none of `tfrecord`, `webdataset`, `files`. */
export function formatByName(name: string): RecordFormat {
  const format = FORMATS.find((candidate) => candidate.name === name);
  if (format !== undefined) return format;
  const names = FORMATS.map((candidate) => JSON.stringify(candidate.name)).join(", ");
  throw new MillraceError("MILLRACE_CONFIG", `format: ${JSON.stringify(name)} is not a format; expected one of ${names}`);
}

/**
 * The format that the names of a dataset's objects say. Hidden objects, record indexes, `_SUCCESS` and the like say nothing.
 * Throws MILLRACE_FORMAT where the names say two formats or one that is not read, MILLRACE_NOT_FOUND where there is no data at all.
 */
export function inferFormat(paths: Iterable<string>): RecordFormat {
  const examples = new Map<RecordFormat, string>();
  let companion: string | undefined;
  for (const path of paths) {
    if (!isData(path)) continue;
    refuseUnread(path);
    const format = SHARDED.find((candidate) => candidate.matches(path)) ?? files;
    if (format === files && COMPANION.test(path)) companion ??= path;
    else if (!examples.has(format)) examples.set(format, path);
  }
  if (examples.size > 1) throw mixedFormats(examples);
  const [format] = examples.keys();
  if (format !== undefined) return format;
  if (companion !== undefined) return files;
  throw new MillraceError(
    "MILLRACE_NOT_FOUND",
    "The dataset is empty: none of the objects named is data (hidden objects, record indexes and markers such as _SUCCESS do not count)",
  );
}

/**
 * The format of a dataset, named or inferred, and those of `objects` that are its shards, in their order.
 * A named format takes the objects whose names match it, or all data objects where no name does.
 */
export function chooseShards<T>(
  objects: readonly T[],
  pathOf: (object: T) => string,
  name?: string,
): { readonly format: RecordFormat; readonly shards: readonly T[] } {
  const format = name === undefined ? inferFormat(objects.map(pathOf)) : formatByName(name);
  const matching = objects.filter((object) => format.matches(pathOf(object)));
  const shards = matching.length > 0 ? matching : objects.filter((object) => isData(pathOf(object)));
  if (shards.length > 0) return { format, shards };
  throw new MillraceError("MILLRACE_NOT_FOUND", `The dataset is empty: none of the ${objects.length} objects named is data`);
}

function refuseUnread(path: string): void {
  if (!UNREAD.test(path)) return;
  throw new MillraceError(
    "MILLRACE_FORMAT",
    `${path}: this kind of file is not read as a dataset; convert it to TFRecord or WebDataset, or set format: "files" to have each object as one sample`,
  );
}

function mixedFormats(examples: ReadonlyMap<RecordFormat, string>): MillraceError {
  const found = [...examples].map(([format, path]) => `${format.name} (${baseName(path)})`).join(" and ");
  const names = [...examples.keys()].map((format) => `"${format.name}"`).join(" or ");
  return new MillraceError("MILLRACE_FORMAT", `The dataset mixes ${found}: set format to ${names}, or name a narrower prefix or pattern`);
}

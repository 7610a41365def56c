/** Plain files: each object is one sample, and the folder it lies in is its class. */
import type { Fields } from "../api.js";
import { MillraceError } from "../errors.js";
import { formatBytes } from "../util/byte-size.js";
import { compareUtf8 } from "../util/utf8-order.js";
import type { RawRecord, RawSample, RecordFormat, RecordIndex, ShardReader } from "./format.js";
import { folderName, isData } from "./names.js";

/** The names of the folders that hold the objects, in label order: sorted by their UTF-8 bytes. */
export function classesOf(paths: Iterable<string>): readonly string[] {
  const names = new Set<string>();
  for (const path of paths) names.add(folderName(path));
  return [...names].sort(compareUtf8);
}

export const files: RecordFormat = {
  name: "files",
  wholeObjects: true,
  matches: isData,
  compressed: () => false,
  index: indexFile,
  fields: fileFields,
  defaultFields: (): Fields => ({ bytes: "bytes", label: "int32" }),
};

/** Reads nothing: the object is the record. */
async function indexFile(reader: ShardReader): Promise<RecordIndex> {
  if (reader.size > reader.maxRecordBytes)
    throw new MillraceError(
      "MILLRACE_CORRUPT",
      `${reader.uri}: ${formatBytes(reader.size)} in one sample is more than limits.maxRecordBytes (${formatBytes(reader.maxRecordBytes)})`,
      { uri: reader.uri },
    );
  return { begins: Float64Array.of(0), ends: Float64Array.of(reader.size), keys: [reader.path] };
}

function fileFields(record: RawRecord, wanted: ReadonlySet<string> | undefined, sample: RawSample = {}): RawSample {
  if (wanted === undefined || wanted.has("bytes")) sample.bytes = record.bytes.subarray(record.begin, record.end);
  if (wanted === undefined || wanted.has("label")) sample.label = label(record);
  return sample;
}

/** Label by class name, for each list of classes in use. */
const labels = new WeakMap<readonly string[], ReadonlyMap<string, number>>();

function label({ shardPath, classes = [] }: RawRecord): number {
  let known = labels.get(classes);
  if (known === undefined) {
    known = new Map(classes.map((name, i) => [name, i]));
    labels.set(classes, known);
  }
  const name = folderName(shardPath);
  const found = known.get(name);
  if (found !== undefined) return found;
  throw new MillraceError(
    "MILLRACE_FORMAT",
    `${shardPath}: its folder ${JSON.stringify(name)} is not one of the dataset's ${classes.length} classes; name it in classes, or leave the field "label" out`,
  );
}

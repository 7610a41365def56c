/** Record indexes that other tools leave beside a shard: DALI's tfrecord2idx and wds2idx. One that does not fit the shard is not used. */
import { formatBytes } from "../util/byte-size.js";
import type { RecordIndex, ShardReader } from "./format.js";
import { sidecarPaths } from "./names.js";
import { paddedSize, TAR_BLOCK } from "./tar.js";
import { splitName } from "./webdataset-name.js";

/** A line takes 10 bytes and more: 25 million records. */
const MAX_SIDECAR_BYTES = 256 * 2 ** 20;
/** What may follow the last sample: two zero blocks, filled up to a record of 20 blocks, GNU tar's default. */
const MAX_TAR_TAIL = 22 * TAR_BLOCK;

/** The index that a sidecar's text gives, or what is wrong with it. */
type ParseSidecar = (text: string, reader: ShardReader) => RecordIndex | string;

/** The index from the first sidecar that fits the shard, else from `scan`; its `note` then says why one that was there is not used. */
export async function sidecarOr(
  reader: ShardReader,
  parse: ParseSidecar,
  scan: (reader: ShardReader) => Promise<RecordIndex>,
): Promise<RecordIndex> {
  let note: string | undefined;
  for (const path of sidecarPaths(reader.path)) {
    const bytes = await reader.sidecar(path);
    if (bytes === undefined) continue;
    const found =
      bytes.length > MAX_SIDECAR_BYTES
        ? `it is larger than ${formatBytes(MAX_SIDECAR_BYTES)}`
        : parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8"), reader);
    if (typeof found !== "string") return found;
    note ??= `${path}: ${found}; this record index is not used, and the shard is read instead: write the index again, or remove it`;
  }
  const scanned = await scan(reader);
  return note === undefined ? scanned : { ...scanned, note };
}

/** Lines `offset size`, size with the record's frame. Records fill the shard without a gap. */
export function parseTfrecordIndex(text: string, reader: ShardReader): RecordIndex | string {
  const bounds = [0];
  for (const line of linesOf(text)) {
    const [offset, size, ...more] = line.split(" ").map(integer);
    if (offset === undefined || size === undefined || more.length > 0) return `line ${bounds.length} is not "offset size"`;
    if (offset !== bounds.at(-1) || !(size > 0)) return `line ${bounds.length} does not begin where the record before it ends`;
    if (size > reader.maxRecordBytes) return `line ${bounds.length} is longer than limits.maxRecordBytes`;
    bounds.push(offset + size);
  }
  const end = bounds.at(-1)!;
  if (end !== reader.size) return `its records end at byte ${end}, the shard at ${reader.size}`;
  return indexOf(bounds);
}

/** First line `v1.2 count`, then a line a sample of `extension offset size name`; before v1.2 without the name. Offsets are of data. */
export function parseWebdatasetIndex(text: string, reader: ShardReader): RecordIndex | string {
  const [head = "", ...lines] = linesOf(text);
  const [, version, count] = /^v1\.([012]) (\d+)$/.exec(head) ?? [];
  if (count === undefined) return `its first line is not "v1.2 count"`;
  if (Number(count) !== lines.length) return `it announces ${count} samples and has ${lines.length}`;
  const named = version === "2";
  const bounds = [0];
  const keys: string[] = [];
  for (const line of lines) {
    const sample = parseSample(line.trim().split(/ +/), named, bounds.at(-1)!);
    if (sample === undefined) return `line ${bounds.length + 1} is malformed or out of order`;
    const end = Math.min(reader.size, paddedSize(sample.end));
    if (sample.end > reader.size || end - bounds.at(-1)! > reader.maxRecordBytes)
      return `line ${bounds.length + 1} reaches past the shard's end or limits.maxRecordBytes`;
    bounds.push(end);
    keys.push(sample.key);
  }
  const tail = reader.size - bounds.at(-1)!;
  if (tail > MAX_TAR_TAIL) return `${tail} bytes of the shard follow its last sample`;
  return named ? { ...indexOf(bounds), keys } : indexOf(bounds);
}

/** Where the data of a sample's last member ends, and the sample's key; undefined where the line does not fit after `from`. */
function parseSample(words: readonly string[], named: boolean, from: number): { end: number; key: string } | undefined {
  const step = named ? 4 : 3;
  if (words.length % step !== 0) return undefined;
  let end = from;
  let key: string | undefined;
  for (let i = 0; i < words.length; i += step) {
    const offset = integer(words[i + 1]!);
    const size = integer(words[i + 2]!);
    // At least a header lies between one member's data and the next.
    if (offset === undefined || size === undefined || offset % TAR_BLOCK !== 0 || offset < paddedSize(end) + TAR_BLOCK) return undefined;
    const own = named ? splitName(words[i + 3]!)?.key : "";
    if (own === undefined || own !== (key ?? own)) return undefined;
    key = own;
    end = offset + size;
  }
  return key === undefined ? undefined : { end, key };
}

function indexOf(bounds: readonly number[]): RecordIndex {
  return { begins: Float64Array.from(bounds.slice(0, -1)), ends: Float64Array.from(bounds.slice(1)) };
}

function linesOf(text: string): string[] {
  const lines = text.split(/\r?\n/);
  while (lines.at(-1) === "") lines.pop();
  return lines;
}

function integer(word: string): number | undefined {
  const value = Number(word);
  return /^\d+$/.test(word) && Number.isSafeInteger(value) ? value : undefined;
}

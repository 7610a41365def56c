/**
 * WebDataset: tar archives in which consecutive members of one key are a sample. The key is the path up to the first dot after the last
 * slash; what follows the dot, lowercased, names the field. A record reaches from the end of the sample before it to the padded end of
 * its own last member, so that extended headers are inside it and its bytes can be parsed alone.
 */
import type { Fields } from "../api.js";
import { MillraceError } from "../errors.js";
import { formatBytes } from "../util/byte-size.js";
import type { RawRecord, RawSample, RecordFormat, RecordIndex, ShardReader } from "./format.js";
import { indexInflated, isGzip } from "./inflate.js";
import { hasField, setField } from "./raw-sample.js";
import { corruptRecord, damageOf } from "./record-error.js";
import { SCAN_SIZES, type ScanSizes, ScanWindow } from "./scan-window.js";
import { parseWebdatasetIndex, sidecarOr } from "./sidecar.js";
import { paddedSize, readMember, TAR_BLOCK, TarError, type TarMember } from "./tar.js";
import { splitName } from "./webdataset-name.js";

export const webdataset: RecordFormat = {
  name: "webdataset",
  matches: (path) => /\.(tar|tar\.gz|tgz)$/i.test(path),
  compressed: (path) => /gz$/i.test(path),
  index: indexTar,
  fields: tarFields,
  defaultFields: (firstRecord): Fields => Object.fromEntries(Object.keys(tarFields(firstRecord, undefined)).map((name) => [name, "bytes"])),
};

async function indexTar(reader: ShardReader): Promise<RecordIndex> {
  return webdataset.compressed(reader.path) ? scanTar(reader) : sidecarOr(reader, parseWebdatasetIndex, scanTar);
}

/** Builds the index from the members' headers. `sizes` is for tests. */
export async function scanTar(reader: ShardReader, sizes: ScanSizes = SCAN_SIZES): Promise<RecordIndex> {
  const window = await ScanWindow.open(reader, sizes);
  // By content: some servers inflate on the way.
  if (isGzip(window.bytes)) return indexInflated(reader, async (inflated) => scanMembers(inflated, await ScanWindow.open(inflated, sizes)));
  return scanMembers(reader, window);
}

async function scanMembers(reader: ShardReader, window: ScanWindow): Promise<RecordIndex> {
  const samples = new SampleList(reader);
  let position = 0;
  let damage: RecordIndex["damage"];
  try {
    for (let members = 0; position < reader.size; members++) {
      const member = await memberAt(reader, window, position, members);
      if (member === "end") break;
      const dataBegin = position + member.headerBytes;
      if (dataBegin + member.size > reader.size)
        throw new TarError(`${member.name} takes ${member.size} bytes, more than the shard has left: it is cut short`);
      const end = Math.min(reader.size, dataBegin + paddedSize(member.size));
      samples.add(member, end);
      position = end;
    }
    samples.finish();
  } catch (cause) {
    if (!(cause instanceof TarError)) throw cause;
    damage = damageOf(reader, corruptRecord(reader, samples.count, position, cause.message), position);
  }
  return { ...samples.index(), damage };
}

async function memberAt(reader: ShardReader, window: ScanWindow, position: number, members: number): Promise<TarMember | "end"> {
  for (let need = TAR_BLOCK; ; ) {
    if (position + need > reader.size) throw new TarError("the shard ends in the middle of a header: it is cut short");
    if (!window.holds(position, need)) await window.load(position, need, members);
    const member = readMember(window.bytes, position - window.begin);
    if (typeof member !== "number") return member;
    need = member;
  }
}

/** Gathers members to samples. */
class SampleList {
  readonly #reader: ShardReader;
  readonly #bounds: number[] = [0];
  readonly #keys: string[] = [];
  /** The sample whose members are being gathered. */
  #key: string | undefined;
  #end = 0;
  readonly #fields = new Set<string>();

  constructor(reader: ShardReader) {
    this.#reader = reader;
  }

  /** Whole samples so far. */
  get count(): number {
    return this.#keys.length;
  }

  /** `end`: of the member's padded data. */
  add(member: TarMember, end: number): void {
    const name = member.regular ? splitName(member.name) : undefined;
    if (name === undefined) return;
    if (name.key !== this.#key) this.finish();
    if (this.#fields.has(name.field)) throw repeatedField(this.#reader.uri, name.key, name.field);
    this.#fields.add(name.field);
    this.#key = name.key;
    this.#end = end;
    const bytes = end - this.#bounds.at(-1)!;
    const { maxRecordBytes } = this.#reader;
    if (bytes > maxRecordBytes)
      throw new TarError(`${formatBytes(bytes)} are more than limits.maxRecordBytes (${formatBytes(maxRecordBytes)})`);
  }

  /** No more members of this sample. */
  finish(): void {
    if (this.#key === undefined) return;
    this.#keys.push(this.#key);
    this.#bounds.push(this.#end);
    this.#key = undefined;
    this.#fields.clear();
  }

  /** Of the finished samples. */
  index(): RecordIndex {
    return { begins: Float64Array.from(this.#bounds.slice(0, -1)), ends: Float64Array.from(this.#bounds.slice(1)), keys: this.#keys };
  }
}

function repeatedField(name: string, key: string, field: string): MillraceError {
  return new MillraceError(
    "MILLRACE_FORMAT",
    `${name}: sample ${JSON.stringify(key)} has the field ${JSON.stringify(field)} twice; give its members different extensions, or its samples different names`,
  );
}

function tarFields(record: RawRecord, wanted: ReadonlySet<string> | undefined, sample: RawSample = {}): RawSample {
  const { bytes, end } = record;
  let key: string | undefined;
  for (let at = record.begin; at < end; ) {
    const member = memberOf(record, at);
    const begin = at + member.headerBytes;
    at = begin + paddedSize(member.size);
    const name = member.regular ? splitName(member.name) : undefined;
    if (name === undefined) continue;
    key ??= name.key;
    if (name.key !== key)
      throw badRecord(record, `it holds members of two samples, ${JSON.stringify(key)} and ${JSON.stringify(name.key)}`);
    if (wanted !== undefined && !wanted.has(name.field)) continue;
    if (hasField(sample, name.field)) throw repeatedField(record.shardPath, key, name.field);
    setField(sample, name.field, bytes.subarray(begin, begin + member.size));
  }
  return sample;
}

function memberOf(record: RawRecord, at: number): TarMember {
  const { bytes, end } = record;
  try {
    const member = readMember(bytes, at, end);
    if (typeof member === "object" && at + member.headerBytes + member.size <= end) return member;
  } catch (cause) {
    if (!(cause instanceof TarError)) throw cause;
    throw badRecord(record, cause.message);
  }
  throw badRecord(record, "it is cut short");
}

function badRecord({ shardPath }: RawRecord, problem: string): MillraceError {
  return new MillraceError(
    "MILLRACE_CORRUPT",
    `${shardPath}: a sample cannot be read: ${problem}; the shard is damaged, or its record index is of another version: rebuild or remove it`,
  );
}

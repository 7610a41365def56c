/** What a ceiling knows of the shards beforehand: where each record lies, so that it has nothing to look for. */
import type { Shard, ShardFormat } from "../data.js";

export interface Layout {
  /** Of one record, with its frame. */
  readonly recordBytes: number;
  /** Where its sample begins. */
  readonly headerBytes: number;
  readonly sampleBytes: number;
  /** TFRecord's checksum of the data; tar has none. */
  readonly checksums: boolean;
}

/** Whole records, so that none lies in two ranges. */
export interface RecordRange {
  readonly path: string;
  readonly begin: number;
  readonly bytes: number;
  readonly records: number;
}

const TAR_BLOCK = 512;
/** TFRecord: u64 length and its checksum before the data, the data's checksum after it. */
const FRAME = { header: 12, footer: 4 };

export function layoutOf(format: ShardFormat, sampleBytes: number): Layout {
  if (format === "tfrecord")
    return { recordBytes: FRAME.header + sampleBytes + FRAME.footer, headerBytes: FRAME.header, sampleBytes, checksums: true };
  const padded = Math.ceil(sampleBytes / TAR_BLOCK) * TAR_BLOCK;
  return { recordBytes: TAR_BLOCK + padded, headerBytes: TAR_BLOCK, sampleBytes, checksums: false };
}

/** All records in order, in ranges of at most `rangeBytes`. */
export function recordRanges(shards: readonly Shard[], { recordBytes }: Layout, rangeBytes: number): RecordRange[] {
  const most = Math.floor(rangeBytes / recordBytes);
  const ranges: RecordRange[] = [];
  for (const { path, samples } of shards)
    for (let first = 0; first < samples; first += most) {
      const records = Math.min(most, samples - first);
      ranges.push({ path, begin: first * recordBytes, bytes: records * recordBytes, records });
    }
  return ranges;
}

/** Records and rows of batches, written down in tests. */
import type { RawRecord } from "../../src/formats/format.js";
import { BatchRows } from "../../src/loader/batch-rows.js";

/** The record of these bytes, in the midst of others. */
export function rawRecord(record: Uint8Array, context: Pick<RawRecord, "shardPath" | "classes">): RawRecord {
  const begin = 7;
  const bytes = new Uint8Array(begin + record.length + 600).fill(0xee);
  bytes.set(record, begin);
  return { bytes, begin, end: begin + record.length, ...context };
}

export interface WrittenRow {
  readonly bytes: Uint8Array;
  readonly key: string;
  readonly index: number;
  readonly shardPath: string;
}

/** The rows of a batch; each is the sample of its own number. */
export function batchRows(written: readonly WrittenRow[]): BatchRows {
  const names = { key: (row: number) => written[row]!.key, shardOf: (row: number) => row, path: (row: number) => written[row]!.shardPath };
  const rows = new BatchRows(names, written.length);
  written.forEach(({ bytes, index }, row) => {
    rows.add(index);
    rows.place(row, row, bytes, 0, bytes.length);
  });
  return rows;
}

import { MillraceError } from "../errors.js";
import type { RecordIndex, ShardReader } from "./format.js";

/** A record that cannot be read: names shard, record and byte. */
export function corruptRecord(reader: ShardReader, record: number, offset: number, problem: string): MillraceError {
  return new MillraceError("MILLRACE_CORRUPT", `${reader.uri}: record ${record} at byte ${offset}: ${problem}`, {
    uri: reader.uri,
    range: { begin: offset, end: reader.size },
  });
}

/** Damage at `offset`: thrown, or by `onError: "skip"` kept with the index that ends there. */
export function damageOf(reader: ShardReader, error: MillraceError, offset: number): NonNullable<RecordIndex["damage"]> {
  if (reader.onError === "throw") throw error;
  return { offset, message: error.message };
}

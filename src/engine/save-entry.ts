/** Checkpoints on the local disk, as the queue of uploads knows them. */
import { isMillraceError, MillraceError } from "../errors.js";
import type { PendingFile } from "./pending-versions.js";
import type { Journal } from "./save-journal.js";
import type { Spool } from "./save-spool.js";
import type { SaveTarget } from "./save-target.js";
import type { Turn } from "./save-turns.js";
import type { SaveProgress } from "./save-upload.js";

/** A checkpoint on the local disk. */
export interface QueuedSave {
  readonly spool: Spool;
  readonly journal: Journal;
  readonly files: readonly SaveTarget[];
  readonly turn: Turn;
  /** A process that has ended saved it. */
  readonly recovered: boolean;
}

export interface Entry extends QueuedSave {
  /** As it is on the disk, or was to be. */
  journal: Journal;
  readonly versions: readonly PendingFile[];
  readonly done: SaveProgress;
  /** Of the last try. */
  failure: { readonly error: unknown } | undefined;
  /** Others may have saved the name since, in their turn or elsewhere. */
  late: boolean;
}

/** What this mill cannot upload, and is not to forget either. */
export interface Stranded {
  readonly name: string;
  readonly journal: string;
  readonly error: unknown;
}

/** What `flush` rejects with. */
export function notUploaded(failed: readonly { readonly name: string; readonly error: unknown }[]): MillraceError {
  const names = failed.map(({ name }) => name).join(", ");
  const cause = failed[0]!.error;
  const code = isMillraceError(cause) ? cause.code : "MILLRACE_UNAVAILABLE";
  const message = `Not uploaded, and kept in the cache directory: ${names} (${cause instanceof Error ? cause.message : String(cause)})`;
  return new MillraceError(code, message, { cause });
}

/** What the caller's thread and the engine's say to each other of a checkpoint that is saved. */

/** One object of a checkpoint. */
export interface SaveFile {
  readonly path: string;
  readonly size: number;
}

/**
 * While this call is open the caller asks for memory (`saveRoom`), writes the next bytes into it, and asks again, file after file in the order
 * given: so it says that it has written. It is answered with undefined when there is nothing more to write, and when the save has failed.
 */
export interface SaveRequest {
  /** The caller's. */
  readonly id: number;
  /** The last one is what the caller asked for: with it the checkpoint is whole. The others are its shards. */
  readonly files: readonly SaveFile[];
  readonly write: "through" | "back";
  /** Checkpoints of the series that are left, this one included. Default: all. */
  readonly keep: number | undefined;
}

/** Memory for the bytes that come next. "again": the first of them do, since the disk could not take the checkpoint and its origin is to. */
export type SaveRoom = readonly Uint8Array[] | "again" | undefined;

/** Since the mill was opened; `pending` and `failed` now. */
export interface SaveStats {
  readonly through: number;
  readonly back: number;
  readonly noSpace: number;
  readonly pending: number;
  readonly pendingBytes: number;
  readonly failed: number;
  readonly uploaded: number;
  readonly bytes: number;
  readonly removed: number;
}

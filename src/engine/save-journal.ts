/** What is known of a checkpoint on the local disk that is still to be uploaded: one small JSON file beside its data. */

/** One object of a save. */
export interface SpooledFile {
  /** As the caller wrote it. */
  readonly path: string;
  readonly size: number;
  /** CRC-32C of each piece of `pieceBytes`. */
  readonly crcs: readonly number[];
}

export interface Journal {
  readonly version: 1;
  /** When the save was asked for, which is its place among those of its name, and not when it was on the disk. */
  readonly savedMs: number;
  /** Its place among the saves of its process that were asked for in the same millisecond. */
  readonly turn: number;
  /** URI of the last file: where the path leads elsewhere by now, it is not uploaded. */
  readonly target: string;
  readonly keep: number | undefined;
  readonly pieceBytes: number;
  readonly files: readonly SpooledFile[];
  /** Shards at the origin, by key, that go when it is uploaded: added before that, since the index that named them is not there after it. */
  readonly replaced?: readonly string[];
}

/** Undefined where it is damaged, or of another version. */
export function parseJournal(text: string): Journal | undefined {
  try {
    const journal = JSON.parse(text) as Partial<Journal>;
    return journal.version === 1 && Array.isArray(journal.files) && journal.files.length > 0 ? (journal as Journal) : undefined;
  } catch {
    return undefined;
  }
}

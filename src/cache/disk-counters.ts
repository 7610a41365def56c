/** What the disk tier counts from its opening on. */
export class DiskCounters {
  /** Block files written. */
  writes = 0;
  /** Bytes of data written. */
  writtenBytes = 0;
  /** Blocks that found room but could not be written. */
  failedWrites = 0;
  /** Block files read and found whole. */
  reads = 0;
  /** Block files whose checksum, length or identity was wrong; they were removed and the block fetched again. */
  checksumMisses = 0;
  /** Block files that another process had removed meanwhile. */
  vanished = 0;
  /** Blocks that another process had written, found by looking for their file. */
  found = 0;
  /** Blocks removed to make room. */
  evictions = 0;
  /** Temporary files of processes that died, removed. */
  staleFilesRemoved = 0;
  /** Files that this library did not write, left alone. */
  foreignFiles = 0;
  /** Start-up scans that ended: one a directory. */
  scans = 0;
  /** Locks taken over from a process that died or stood still. */
  lockTakeovers = 0;
  /** Times that the ledger's lock could not be had in time: the block was streamed instead of held. */
  lockTimeouts = 0;
  /** Failed file operations by error code, such as ENOSPC or EIO. */
  readonly errors: Record<string, number> = {};

  error(error: unknown): string {
    const code = (error as NodeJS.ErrnoException | undefined)?.code ?? "UNKNOWN";
    this.errors[code] = (this.errors[code] ?? 0) + 1;
    return code;
  }
}

/** The counters of all directories together, and what they hold now. */
export interface DiskStats extends Readonly<Omit<DiskCounters, "error">> {
  /** Bytes of data on disk, or in the queue to it. */
  readonly heldBytes: number;
  /** Bytes of capacity taken by this process's knowledge: data, headers, rounding and inodes, of blocks and of metadata. */
  readonly chargedBytes: number;
  readonly capacityBytes: number;
  /** Bytes waiting to be written. */
  readonly queuedBytes: number;
  /** Living processes that share the first directory, this one included; 0 without directories. */
  readonly processes: number;
  /** Fetches for all processes taken over from one that died or stood still. */
  readonly claimTakeovers: number;
  /** Directories given up after errors, with the reason. */
  readonly disabled: readonly { readonly path: string; readonly reason: string }[];
}

import type { FileHandle } from "node:fs/promises";

/**
 * Of one write to a file: it copies to memory of the system, 1 ms a MiB, and 20 where that memory has to be found first. Until the call returns, kernels as
 * servers run them (PREEMPT_NONE) give its processor to nobody: steps of a training loop wait. Shorter calls cost nothing that could be measured.
 */
export const WRITE_BYTES: number = 256 * 1024;

/** Writes all of the bytes, in short calls: at `at`, or, without it, where the last write ended. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, at?: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const position = at === undefined ? null : at + done;
    done += (await file.write(bytes, done, Math.min(bytes.length - done, WRITE_BYTES), position)).bytesWritten;
  }
}

/** The files of a spool, in pieces that each have a CRC-32C. */
import { type FileHandle, open } from "node:fs/promises";
import { throwIfAborted } from "../errors.js";
import { crc32c } from "../util/crc32c.js";
import { writeAll } from "../util/write-all.js";
import type { SavePart } from "./save-parts.js";

/** Of one read of a check: longer ones are no faster. */
const CHECK_BYTES = 2 ** 20;

export function crcOf(views: readonly Uint8Array[]): number {
  return views.reduce((sum, view) => crc32c(view, sum), 0);
}

export async function writeAt(file: FileHandle, { views, begin }: SavePart): Promise<void> {
  let at = begin;
  for (const view of views) {
    await writeAll(file, view, at);
    at += view.length;
  }
}

/** Fills the part; resolves to the CRCs of its pieces. */
export async function readAt(file: FileHandle, { views, begin }: SavePart, pieceBytes: number): Promise<number[]> {
  const sums: number[] = [];
  let at = begin;
  for (const view of views)
    for (let done = 0; done < view.length; ) {
      const toPiece = pieceBytes - (at % pieceBytes);
      const { bytesRead } = await file.read(view, done, Math.min(view.length - done, toPiece), at);
      if (bytesRead === 0) return [Number.NaN]; // Cut short: like no CRC.
      const piece = Math.floor((at - begin) / pieceBytes);
      sums[piece] = crc32c(view.subarray(done, done + bytesRead), sums[piece] ?? 0);
      done += bytesRead;
      at += bytesRead;
    }
  return sums;
}

/** Whether a file has this size, and each of its pieces its CRC. Throws what reading it throws. */
export async function hasPieces(
  name: string,
  size: number,
  pieceBytes: number,
  crcs: readonly number[],
  signal: AbortSignal,
): Promise<boolean> {
  const file = await open(name, "r");
  try {
    if ((await file.stat()).size !== size) return false;
    const bytes = Buffer.allocUnsafe(Math.min(CHECK_BYTES, size));
    for (let begin = 0, n = 0; begin < size; begin += pieceBytes, n++) {
      const end = Math.min(size, begin + pieceBytes);
      let sum = 0;
      for (let at = begin; at < end; ) {
        throwIfAborted(signal, "The check");
        const { bytesRead } = await file.read(bytes, 0, Math.min(bytes.length, end - at), at);
        if (bytesRead === 0) return false;
        sum = crc32c(bytes.subarray(0, bytesRead), sum);
        at += bytesRead;
      }
      if (sum !== crcs[n]) return false;
    }
    return true;
  } finally {
    await file.close();
  }
}

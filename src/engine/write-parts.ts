/** What a caller writes, cut into parts that cross to the engine's thread by transfer. */
import { types } from "node:util";
import { MillraceError } from "../errors.js";

/** What crosses at a time: one part of an upload, and the most that a write holds on the caller's side. */
const PART_BYTES = 8 * 2 ** 20;

/**
 * The same bytes in fresh memory, 8 MiB a part but for the last: the caller may use its own again, and a view of a large buffer is not
 * cloned with all that is behind it. Throws MILLRACE_CONFIG for what is no bytes.
 */
export async function* writeParts(data: Uint8Array | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
  const longest = types.isUint8Array(data) ? Math.min(data.byteLength, PART_BYTES) : PART_BYTES;
  let part = new Uint8Array(0);
  let filled = 0;
  for await (const bytes of types.isUint8Array(data) ? [data] : data) {
    if (!types.isUint8Array(bytes)) throw notBytes(bytes);
    for (let from = 0; from < bytes.byteLength; ) {
      if (filled === 0) part = new Uint8Array(longest);
      const piece = bytes.subarray(from, from + longest - filled);
      part.set(piece, filled);
      filled += piece.byteLength;
      from += piece.byteLength;
      if (filled < longest) continue;
      yield part;
      filled = 0;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}

/** Throws MILLRACE_CONFIG for data that no part can be had of. */
export function checkWriteData(data: unknown): void {
  if (typeof data === "string" || types.isUint8Array(data)) return;
  const iterable = data as { [Symbol.asyncIterator]?: unknown; [Symbol.iterator]?: unknown } | null | undefined;
  if (typeof (iterable?.[Symbol.asyncIterator] ?? iterable?.[Symbol.iterator]) !== "function" || Array.isArray(data)) throw notBytes(data);
}

function notBytes(given: unknown): MillraceError {
  const kind = given === null ? "null" : typeof given === "object" ? given.constructor?.name : typeof given;
  return new MillraceError("MILLRACE_CONFIG", `data: expected a Uint8Array, a string or an AsyncIterable of Uint8Arrays, got ${kind}`);
}

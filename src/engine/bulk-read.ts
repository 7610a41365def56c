/** Long reads through the cache: in parts, several at once, into one stretch of memory that is then the reader's own. */
import { constants } from "node:buffer";
import pLimit from "p-limit";
import type { Destination } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { BlockCache, SpanLease } from "../cache/tier-chain.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import { combinedSignal } from "../util/combined-signal.js";
import { uninitializedBuffer } from "../util/copy-bytes.js";
import { ProgressMeter } from "../util/progress-meter.js";
import { TouchedAhead } from "../util/touch-memory.js";
import type { CallContext } from "./rpc.js";

/** Bytes [begin, end) of an object, and where in the destination they go. */
export interface Piece {
  readonly begin: number;
  readonly end: number;
  readonly at: number;
}
/** What one request reads: pieces that lie close together. */
export interface Part {
  readonly begin: number;
  readonly end: number;
  readonly pieces: readonly Piece[];
}

/** One ranged GET's worth: longer, so that there are fewer, for as long as more than one of these is left to each connection. */
const PART_BYTES = 8 * 2 ** 20;
const LONG_PART_BYTES = 16 * 2 ** 20;
/** Of one read in flight: 16 connections of 60 MB/s, less the 30 ms that each takes to its first byte, are 800 MB/s. */
const PARTS_AT_ONCE = 16;
/** The same where they lie in the slab meanwhile: 64 MiB. */
const HELD_AT_ONCE = 8;
/** Between two pieces, bytes that are cheaper to read than to ask around: a block, which a cache would read whole anyway. */
const MAX_GAP = 2 ** 20;

/**
 * Cuts pieces, ascending, into parts, for a read of `byteLength`; by default short ones. None crosses a multiple of its length, so that they are made of whole
 * blocks, and of whole groups of peers. Pure.
 */
export function planParts(pieces: readonly Piece[], byteLength = 0): Part[] {
  const parts: { begin: number; end: number; pieces: Piece[] }[] = [];
  /** Where the last part has to end. */
  let limit = 0;
  for (const piece of pieces) {
    for (let begin = piece.begin; begin < piece.end; ) {
      const at = piece.at + begin - piece.begin;
      let part = parts.at(-1);
      if (part === undefined || begin >= limit || begin - part.end > MAX_GAP) {
        const length = byteLength - at > PARTS_AT_ONCE * LONG_PART_BYTES ? LONG_PART_BYTES : PART_BYTES;
        limit = (Math.floor(begin / length) + 1) * length;
        part = { begin, end: begin, pieces: [] };
        parts.push(part);
      }
      part.end = Math.min(piece.end, limit);
      part.pieces.push({ begin, end: part.end, at });
      begin = part.end;
    }
  }
  return parts;
}

/**
 * The pieces, ascending, in one stretch of fresh memory of `byteLength`. What lies between them there is whatever was there before.
 * Throws MILLRACE_CONFIG where no array can be so long, MILLRACE_NO_SPACE where there is no memory.
 */
export async function readPieces(
  cache: BlockCache,
  object: ObjectVersion,
  pieces: readonly Piece[],
  byteLength: number,
  context: CallContext,
): Promise<Uint8Array<ArrayBuffer>> {
  const target = freshMemory(byteLength, object.uri);
  const place = ({ begin, end, at }: Piece): Uint8Array => target.subarray(at, at + end - begin);
  const copy = async ({ pieces: of }: Part, lease: SpanLease): Promise<void> => {
    for (const piece of of) lease.copyTo(piece.begin, place(piece));
  };
  const parts = planParts(pieces, byteLength);
  // What comes from a disk gets its pages from the pool's thread that reads it.
  const stretches = (cache.disk?.heldBytes(object.id) ?? 0) > 0 ? [] : parts.map((part) => stretchOf(target, part));
  const touched = new TouchedAhead(stretches, PARTS_AT_ONCE);
  const into = async ({ begin, pieces: [only, ...more] }: Part, i: number): Promise<Destination | undefined> => {
    await touched.ready(i);
    return more.length === 0 ? { begin, bytes: place(only!) } : undefined;
  };
  try {
    await eachPart(cache, object, parts, context, copy, into);
  } finally {
    await touched.close();
  }
  return target;
}

/** Reads the parts, several at once, each handed to `use` while it is held. The first failure ends the others; all have ended before it is told. */
export async function eachPart(
  cache: BlockCache,
  object: ObjectVersion,
  parts: readonly Part[],
  context: CallContext,
  use: (part: Part, lease: SpanLease) => Promise<void>,
  into?: (part: Part, i: number) => Promise<Destination | undefined>,
): Promise<void> {
  const meter = new ProgressMeter((progress) => context.progress(progress));
  const abort = new AbortController();
  const signal = combinedSignal(context.signal, abort.signal);
  const read = async (part: Part, i: number): Promise<void> => {
    const destination = await into?.(part, i);
    const lease = await cache.acquire(object, part.begin, part.end, { priority: 0, signal, into: destination });
    try {
      await use(part, lease);
    } finally {
      lease.release();
    }
    meter.did(0, bytesOf(part));
  };
  meter.expect(
    1,
    parts.reduce((sum, part) => sum + bytesOf(part), 0),
  );
  const limit = pLimit(into === undefined ? HELD_AT_ONCE : PARTS_AT_ONCE);
  await Promise.all(parts.map((part, i) => limit(() => (signal.aborted ? undefined : read(part, i))).catch((error) => abort.abort(error))));
  throwIfAborted(context.signal, "Reading");
  if (abort.signal.aborted) throw abort.signal.reason;
  meter.did(1, 0);
  meter.report();
}

function freshMemory(byteLength: number, uri: string): Uint8Array<ArrayBuffer> {
  // Of Node 20: one typed array has 2^32 elements at most.
  if (byteLength > constants.MAX_LENGTH) {
    const most = `${byteLength} bytes are more than the ${constants.MAX_LENGTH} that an array can have`;
    throw new MillraceError("MILLRACE_CONFIG", `${uri}: ${most}; read them in parts, from \`begin\` to \`end\``, { uri });
  }
  try {
    return new Uint8Array(uninitializedBuffer(byteLength));
  } catch (cause) {
    throw new MillraceError("MILLRACE_NO_SPACE", `${uri}: no memory for the ${byteLength} bytes that were asked for`, { uri, cause });
  }
}

/** All memory that a part is read to. */
function stretchOf(target: Uint8Array, { pieces }: Part): Uint8Array {
  const last = pieces.at(-1)!;
  return target.subarray(pieces[0]!.at, last.at + last.end - last.begin);
}

function bytesOf({ pieces }: Part): number {
  return pieces.reduce((sum, { begin, end }) => sum + end - begin, 0);
}

/** Whole-shard compression: gzip (of one member or several) and zlib. */
import { promisify } from "node:util";
import { unzip } from "node:zlib";
import { MillraceError } from "../errors.js";
import { formatBytes } from "../util/byte-size.js";
import type { RecordIndex, ShardReader } from "./format.js";

/** A compressed shard is held whole; one that is larger than this once inflated should have been several. */
const MAX_INFLATED_BYTES: number = 2 * 2 ** 30;
/** Output comes in pieces of this size; Node's own 16 KiB would be 65,536 pieces a GiB. */
const CHUNK_BYTES = 2 ** 20;

const unzipAsync = promisify<Uint8Array, { maxOutputLength: number; chunkSize: number }, Buffer<ArrayBuffer>>(unzip);

/** RFC 1952. */
export function isGzip(bytes: Uint8Array): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

/** RFC 1950: method 8, a window of up to 32 KiB, and the two bytes as a big-endian number a multiple of 31. Text may look like it. */
export function mayBeZlib(bytes: Uint8Array): boolean {
  return bytes.length > 1 && (bytes[0]! & 0x8f) === 0x08 && (bytes[0]! * 256 + bytes[1]!) % 31 === 0;
}

/**
 * Inflates gzip or zlib bytes on the thread pool. `bytes` must stay valid until the promise has settled; `name` is for messages.
 * Throws MILLRACE_CORRUPT for damaged data, MILLRACE_FORMAT where it is longer than `limit`.
 */
export async function inflate(bytes: Uint8Array, name: string, limit: number = MAX_INFLATED_BYTES): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await unzipAsync(bytes, { maxOutputLength: limit, chunkSize: Math.min(CHUNK_BYTES, Math.max(64, limit)) });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE")
      throw new MillraceError(
        "MILLRACE_FORMAT",
        `${name}: it inflates to more than ${formatBytes(limit)}, and a compressed shard is held whole: write smaller shards, or do not compress them`,
        { uri: name, cause },
      );
    throw new MillraceError("MILLRACE_CORRUPT", `${name}: its compressed data is damaged or cut short (${(cause as Error).message})`, {
      uri: name,
      cause,
    });
  }
}

/** Indexes a compressed shard: reads it whole, and lets `index` read the inflated bytes. */
export async function indexInflated(reader: ShardReader, index: (reader: ShardReader) => Promise<RecordIndex>): Promise<RecordIndex> {
  const inflated = await inflate(await reader.read(0, reader.size), reader.uri);
  const { path, uri, signal, maxRecordBytes, onError } = reader;
  const found = await index({
    path,
    uri,
    signal,
    maxRecordBytes,
    onError,
    size: inflated.length,
    read: async (begin, end) => inflated.subarray(begin, end),
    sidecar: async () => undefined,
  });
  return { ...found, inflatedSize: inflated.length };
}

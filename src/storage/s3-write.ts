import { createHash } from "node:crypto";
import type { CompletedPart, CreateMultipartUploadOutput, HeadObjectOutput } from "@aws-sdk/client-s3";
import type { Dispatcher } from "undici";
import { isMillraceError, MillraceError, throwIfAborted } from "../errors.js";
import { combinedSignal } from "../util/combined-signal.js";
import { copyBytes } from "../util/copy-bytes.js";
import { unlessAborted } from "../util/unless-aborted.js";
import { type RetryPolicy, retried } from "./retry.js";
import type { S3Connection, SdkCall } from "./s3-client.js";
import { crcOf, putPart } from "./s3-part.js";
import type { StoredObject, WriteOptions } from "./store.js";

/** Of one part of an upload. S3 takes 5 MiB and up; larger parts mean fewer requests, and one is held in memory for each that is in flight. */
const PART_BYTES = 8 * 2 ** 20;
/** S3's own limit. */
const MAX_PARTS = 10_000;
/** At S3's rate a connection, some 90 MB/s, they fill a link of 5 Gbit/s; 64 MiB of memory. */
const PARTS_AT_ONCE = 8;
/** To forget an upload's parts is asked for by those who end, who do not wait for an origin that does not answer. */
const FORGET = { tries: 2, eachMs: 5_000 } as const;

const LEFT =
  "Parts of an upload that failed may be left at the origin, unseen and paid for: abort the upload by its id, or have a lifecycle rule (AbortIncompleteMultipartUpload) do so";

/** One object to write, and how. */
export interface S3Upload {
  readonly connection: S3Connection;
  /** Sends the parts. */
  readonly agent: Dispatcher;
  readonly bucket: string;
  readonly path: string;
  readonly uri: string;
  readonly retry: RetryPolicy;
  readonly options: WriteOptions;
  /** Told of what a person has to see to. */
  readonly log: ((level: string, fields: object, message: string) => void) | undefined;
}

/**
 * Writes the object: one PUT where it fits into one part, else a multipart upload with parts in parallel, each retried by itself.
 * A failed upload is aborted, so that no parts stay behind. `size` must be given for more than 80 GB.
 */
export async function writeS3(upload: S3Upload, parts: AsyncIterable<Uint8Array>): Promise<StoredObject> {
  const { size = 0 } = upload.options;
  const partBytes = Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS));
  const pieces = inPieces(parts, partBytes, upload.options);
  try {
    const first = await pieces.next();
    if (first.done || first.value.bytes.length < partBytes) return await putWhole(upload, first.value?.bytes ?? Buffer.alloc(0));
    return await putParts(upload, first.value, pieces);
  } finally {
    await pieces.return(undefined);
  }
}

async function putWhole(upload: S3Upload, body: Uint8Array): Promise<StoredObject> {
  const { bucket, path, options } = upload;
  const input = { Bucket: bucket, Key: path, Body: body };
  const { ETag } = await send(upload, (client, o) => client.putObject(input, o), options.signal);
  options.onProgress?.(body.length);
  return stored(upload, body.length, ETag);
}

async function putParts(upload: S3Upload, first: Piece, rest: AsyncIterable<Piece>): Promise<StoredObject> {
  const { bucket, path, options } = upload;
  const target = { Bucket: bucket, Key: path };
  const created = await create(upload);
  const session = new PartUploads(upload, created.UploadId!, created.ChecksumAlgorithm === "CRC32C");
  try {
    await session.add(first);
    for await (const piece of rest) await session.add(piece);
    const parts = await session.finish();
    const complete = { ...target, UploadId: created.UploadId, MultipartUpload: { Parts: parts } };
    const completed = send(upload, (client, o) => client.completeMultipartUpload(complete, o), options.signal);
    const { ETag } = await completed.catch(async (error) => {
      // "No such upload": it may have been completed before, and the answer lost.
      if (!isMillraceError(error, "MILLRACE_NOT_FOUND")) throw error;
      const asked = { ...target, ChecksumMode: "ENABLED" as const };
      const found = await send(upload, (client, o) => client.headObject(asked, o), options.signal).catch(() => undefined);
      if (found?.ContentLength === session.bytes && isOfParts(found, parts)) return found;
      throw error;
    });
    // Ceph leaves it empty. The object is not asked for it: by now it may be another writer's.
    return stored(upload, session.bytes, ETag || etagOf(parts));
  } catch (error) {
    await session.cancel();
    throw error;
  }
}

/**
 * Asks for checksums of the parts; a server that does not know them is asked again without. An answer that is lost leaves an upload whose id nobody knows.
 * It is left alone: it has no parts, so it takes no room, and among those of the key it cannot be told from another writer's.
 */
async function create(upload: S3Upload): Promise<CreateMultipartUploadOutput> {
  const target = { Bucket: upload.bucket, Key: upload.path };
  const checked = { ...target, ChecksumAlgorithm: "CRC32C" as const };
  const { signal } = upload.options;
  return send(upload, (client, o) => client.createMultipartUpload(checked, o), signal).catch((error) => {
    // What refuses a request as it is: 400 or 501.
    if (!isMillraceError(error, "MILLRACE_CONFIG")) throw error;
    return send(upload, (client, o) => client.createMultipartUpload(target, o), signal);
  });
}

/** The parts of one upload in flight. */
class PartUploads {
  readonly #upload: S3Upload;
  readonly #id: string;
  readonly #checked: boolean;
  readonly #parts: CompletedPart[] = [];
  readonly #running = new Set<Promise<void>>();
  readonly #cancelled = new AbortController();
  #numbers = 0;
  #failure: { readonly error: unknown } | undefined;
  /** Taken by the origin. */
  bytes = 0;

  /** `checked`: the server checks each part's CRC-32C. */
  constructor(upload: S3Upload, id: string, checked: boolean) {
    this.#upload = upload;
    this.#id = id;
    this.#checked = checked;
  }

  /** Starts a part; resolves when there is room for the next. */
  async add(piece: Piece): Promise<void> {
    throwIfAborted(this.#upload.options.signal, "The write");
    if (this.#numbers === MAX_PARTS)
      throw new MillraceError(
        "MILLRACE_CONFIG",
        `${this.#upload.uri}: more than ${MAX_PARTS} parts: give the size, so that they can be larger`,
      );
    const task = this.#put(++this.#numbers, piece.bytes).finally(() => {
      this.#running.delete(task);
      piece.release?.();
    });
    this.#running.add(task);
    // The first failure ends the upload, at the next part or at its end; until then it must not count as unhandled.
    task.catch((error: unknown) => {
      this.#failure ??= { error };
    });
    if (this.#running.size >= PARTS_AT_ONCE) await Promise.race(this.#running);
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  async finish(): Promise<CompletedPart[]> {
    await Promise.allSettled(this.#running);
    if (this.#failure !== undefined) throw this.#failure.error;
    return this.#parts.sort((a, b) => a.PartNumber! - b.PartNumber!);
  }

  /** Ends what runs and asks the origin to forget the parts; a failure of that must not hide the first one. */
  async cancel(): Promise<void> {
    const { connection, bucket, path, uri, log } = this.#upload;
    this.#cancelled.abort();
    await Promise.allSettled(this.#running);
    const target = { Bucket: bucket, Key: path, UploadId: this.#id };
    let failure: unknown;
    for (let tries = 0; tries < FORGET.tries; tries++) {
      const signal = AbortSignal.timeout(FORGET.eachMs);
      const sent = connection.send((client, o) => client.abortMultipartUpload(target, o), { uri }, signal);
      try {
        await unlessAborted(sent, signal, "The request");
        return;
      } catch (error) {
        if (isMillraceError(error, "MILLRACE_NOT_FOUND")) return;
        failure = error;
      }
    }
    const fields = { uri, uploadId: this.#id, error: String(failure) };
    log?.("warn", fields, LEFT);
  }

  async #put(number: number, body: Uint8Array): Promise<void> {
    const { retry, options } = this.#upload;
    const signal = combinedSignal(this.#cancelled.signal, options.signal);
    const crc = this.#checked ? crcOf(body) : undefined;
    const part = { uploadId: this.#id, number, body, crc };
    const ETag = await retried(retry, signal, () => putPart(this.#upload, part, signal));
    this.#parts.push({ PartNumber: number, ETag, ...(crc !== undefined && { ChecksumCRC32C: crc }) });
    this.bytes += body.length;
    options.onProgress?.(this.bytes);
  }
}

function send<T>({ connection, uri, retry }: S3Upload, call: SdkCall<T>, signal: AbortSignal | undefined): Promise<T> {
  return retried(retry, signal, () => connection.send(call, { uri }, signal));
}

function stored({ path, uri }: S3Upload, size: number, etag: string | undefined): StoredObject {
  if (etag === undefined) throw new MillraceError("MILLRACE_UNAVAILABLE", `${uri}: the origin took the object but gave no ETag`);
  return { path, size, etag: quotedEtag(etag), lastModified: undefined };
}

/** Of an object of these parts: the MD5 of their MD5s, where that is what their ETags are. Another ETag says nothing of the bytes. */
function etagOf(parts: readonly CompletedPart[]): string {
  const sums = Buffer.from(parts.map(({ ETag }) => ETag!.replaceAll('"', "")).join(""), "hex");
  return `"${createHash("md5").update(sums).digest("hex")}-${parts.length}"`;
}

/** Whether an object is of these parts, by its ETag or, where that says nothing of the bytes (SSE-KMS), by the checksum of its parts' checksums. */
function isOfParts({ ETag, ChecksumCRC32C }: HeadObjectOutput, parts: readonly CompletedPart[]): boolean {
  if (ETag && quotedEtag(ETag) === etagOf(parts)) return true;
  const sums = parts.flatMap(({ ChecksumCRC32C: sum }) => (sum === undefined ? [] : [Buffer.from(sum, "base64")]));
  return sums.length === parts.length && ChecksumCRC32C === `${crcOf(Buffer.concat(sums))}-${parts.length}`;
}

/** Some servers leave the quotes out here and there; a version has one form. */
export function quotedEtag(etag: string): string {
  return /^(W\/)?"/.test(etag) ? etag : `"${etag}"`;
}

/** Bytes that stay as they are until they are released. */
interface Piece {
  readonly bytes: Uint8Array;
  readonly release?: () => void;
}

/** The same bytes in pieces of `bytes` each, but for the last. Parts of just that length are passed on where they may be, others copied. */
async function* inPieces(
  parts: AsyncIterable<Uint8Array>,
  bytes: number,
  { release, size = bytes }: WriteOptions,
): AsyncGenerator<Piece, void, undefined> {
  let piece = Buffer.alloc(0);
  let filled = 0;
  for await (const part of parts) {
    if (release !== undefined && filled === 0 && part.length === bytes) {
      yield { bytes: part, release: () => release(part) };
      continue;
    }
    for (let from = 0; from < part.length; ) {
      if (filled === 0) piece = Buffer.allocUnsafeSlow(Math.min(bytes, Math.max(size, part.length)));
      // More than was announced.
      else if (filled === piece.length) piece = Buffer.concat([piece], bytes);
      const taken = part.subarray(from, from + piece.length - filled);
      copyBytes(piece, filled, taken);
      filled += taken.length;
      from += taken.length;
      if (filled < bytes) continue;
      yield { bytes: piece };
      filled = 0;
    }
    release?.(part);
  }
  if (filled > 0) yield { bytes: piece.subarray(0, filled) };
}

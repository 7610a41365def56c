import type { CompletedPart } from "@aws-sdk/client-s3";
import { MillraceError, throwIfAborted } from "../errors.js";
import { combinedSignal } from "../util/combined-signal.js";
import { type RetryPolicy, retried } from "./retry.js";
import type { S3Connection, SdkCall } from "./s3-client.js";
import type { StoredObject, WriteOptions } from "./store.js";

/** Of one part of an upload. S3 takes 5 MiB and up; larger parts mean fewer requests, and one is held in memory for each that is in flight. */
const PART_BYTES = 8 * 2 ** 20;
/** S3's own limit. */
const MAX_PARTS = 10_000;
/** Enough to fill a 10 Gbit/s link at S3's rate a connection; 32 MiB of memory. */
const PARTS_AT_ONCE = 4;

/** One object to write, and how. */
export interface S3Upload {
  readonly connection: S3Connection;
  readonly bucket: string;
  readonly path: string;
  readonly uri: string;
  readonly retry: RetryPolicy;
  readonly options: WriteOptions;
}

/**
 * Writes the object: one PUT where it fits into one part, else a multipart upload with parts in parallel, each retried by itself.
 * A failed upload is aborted, so that no parts stay behind. `size` must be given for more than 80 GB.
 */
export async function writeS3(upload: S3Upload, parts: AsyncIterable<Uint8Array>): Promise<StoredObject> {
  const { size = 0 } = upload.options;
  const partBytes = Math.max(PART_BYTES, Math.ceil(size / MAX_PARTS));
  const pieces = inPieces(parts, partBytes)[Symbol.asyncIterator]();
  try {
    const first = await pieces.next();
    const whole = first.done ? Buffer.alloc(0) : first.value;
    if (whole.length < partBytes) return await putWhole(upload, whole);
    return await putParts(upload, whole, { [Symbol.asyncIterator]: () => pieces });
  } finally {
    await pieces.return(undefined);
  }
}

async function putWhole(upload: S3Upload, body: Buffer): Promise<StoredObject> {
  const { bucket, path, options } = upload;
  const input = { Bucket: bucket, Key: path, Body: body };
  const { ETag } = await send(upload, (client, o) => client.putObject(input, o), options.signal);
  options.onProgress?.(body.length);
  return stored(upload, body.length, ETag);
}

async function putParts(upload: S3Upload, first: Buffer, rest: AsyncIterable<Buffer>): Promise<StoredObject> {
  const { bucket, path, options } = upload;
  const target = { Bucket: bucket, Key: path };
  const created = await send(upload, (client, o) => client.createMultipartUpload(target, o), options.signal);
  const session = new PartUploads(upload, created.UploadId!);
  try {
    await session.add(first);
    for await (const piece of rest) await session.add(piece);
    const parts = await session.finish();
    const complete = { ...target, UploadId: created.UploadId, MultipartUpload: { Parts: parts } };
    const { ETag } = await send(upload, (client, o) => client.completeMultipartUpload(complete, o), options.signal);
    // Ceph leaves it empty here: then the object itself is asked.
    const etag = ETag || (await send(upload, (client, o) => client.headObject(target, o), options.signal)).ETag;
    return stored(upload, session.bytes, etag);
  } catch (error) {
    await session.cancel();
    throw error;
  }
}

/** The parts of one upload in flight. */
class PartUploads {
  readonly #upload: S3Upload;
  readonly #id: string;
  readonly #parts: CompletedPart[] = [];
  readonly #running = new Set<Promise<void>>();
  readonly #cancelled = new AbortController();
  #numbers = 0;
  #failure: { readonly error: unknown } | undefined;
  /** Taken by the origin. */
  bytes = 0;

  constructor(upload: S3Upload, id: string) {
    this.#upload = upload;
    this.#id = id;
  }

  /** Starts a part; resolves when there is room for the next. */
  async add(piece: Buffer): Promise<void> {
    throwIfAborted(this.#upload.options.signal, "The write");
    if (this.#numbers === MAX_PARTS)
      throw new MillraceError(
        "MILLRACE_CONFIG",
        `${this.#upload.uri}: more than ${MAX_PARTS} parts: give the size, so that they can be larger`,
      );
    const task = this.#put(++this.#numbers, piece).finally(() => this.#running.delete(task));
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
    const { bucket, path } = this.#upload;
    this.#cancelled.abort();
    await Promise.allSettled(this.#running);
    const target = { Bucket: bucket, Key: path, UploadId: this.#id };
    await send(this.#upload, (client, o) => client.abortMultipartUpload(target, o), undefined).catch(() => undefined);
  }

  async #put(number: number, body: Buffer): Promise<void> {
    const { bucket, path, options } = this.#upload;
    const signal = combinedSignal(this.#cancelled.signal, options.signal);
    const part = { Bucket: bucket, Key: path, UploadId: this.#id, PartNumber: number, Body: body };
    const { ETag } = await send(this.#upload, (client, o) => client.uploadPart(part, o), signal);
    this.#parts.push({ PartNumber: number, ...(ETag !== undefined && { ETag }) });
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

/** Some servers leave the quotes out here and there; a version has one form. */
export function quotedEtag(etag: string): string {
  return /^(W\/)?"/.test(etag) ? etag : `"${etag}"`;
}

/** The same bytes in fresh buffers of `bytes` each, but for the last. */
async function* inPieces(parts: AsyncIterable<Uint8Array>, bytes: number): AsyncGenerator<Buffer, void, undefined> {
  let held: Uint8Array[] = [];
  let size = 0;
  for await (const part of parts) {
    for (let from = 0; from < part.length; ) {
      // A copy: the caller may use its memory again for the next part.
      const piece = part.slice(from, from + bytes - size);
      held.push(piece);
      size += piece.length;
      from += piece.length;
      if (size < bytes) continue;
      yield Buffer.concat(held);
      held = [];
      size = 0;
    }
  }
  if (size > 0) yield Buffer.concat(held);
}

/** One part of a multipart upload, sent by ourselves: the SDK's hashing, signing and streams cost more than the sending. */
import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import type { Dispatcher } from "undici";
import { abortedError } from "../errors.js";
import { crc32c } from "../util/crc32c.js";
import { deferred } from "../util/deferred.js";
import { unlessAborted } from "../util/unless-aborted.js";
import { DEFAULT_TIMEOUTS } from "./http-timeouts.js";
import { header, networkError, type Refusal } from "./network-errors.js";
import type { S3Connection } from "./s3-client.js";
import { failureOf, s3Error } from "./s3-errors.js";
import { encodePath } from "./uri.js";

/** A slower connection counts as broken: the time for an answer includes that for sending the part. */
const LEAST_BYTES_PER_MS = 64;
/** Of an error's body. */
const MOST_SAID = 8 * 1024;

export interface S3Part {
  readonly uploadId: string;
  /** From 1. */
  readonly number: number;
  readonly body: Uint8Array;
  /** As `crcOf` has it, where the server checks it. */
  readonly crc: string | undefined;
}

interface PartTarget {
  readonly connection: S3Connection;
  readonly agent: Dispatcher;
  readonly path: string;
  readonly uri: string;
}

/** CRC-32C as S3's headers have it. */
export function crcOf(bytes: Uint8Array): string {
  const sum = Buffer.alloc(4);
  sum.writeUInt32BE(crc32c(bytes));
  return sum.toString("base64");
}

/** Resolves to the part's ETag. Throws as all requests to S3 do; once it has settled, `body` is not read any more. */
export async function putPart(target: PartTarget, part: S3Part, signal: AbortSignal): Promise<string> {
  const { connection, uri } = target;
  const { host, base } = connection.place;
  const path = base + encodePath(target.path);
  const query = `partNumber=${part.number}&uploadId=${encodePath(part.uploadId).replaceAll("/", "%2F")}`;
  const extra = part.crc === undefined ? {} : { "x-amz-checksum-crc32c": part.crc };
  const request = { method: "PUT", host, path, query, payloadHash: payloadHash(connection, part), headers: extra };
  for (let mended = false; ; mended = true) {
    const { headers, credentials } = await unlessAborted(connection.sign(request, extra), signal, "The write");
    const answer = await send(target, `${path}?${query}`, headers, part.body, signal);
    const etag = header(answer.headers, "etag");
    if (answer.status === 200 && etag !== undefined) return etag;
    const failure = failureOf(answer);
    if (mended || !(await connection.mend(failure, credentials))) throw s3Error(failure, { uri });
  }
}

/** What is checked neither by its CRC nor by TLS is signed with its own hash. */
function payloadHash({ place }: S3Connection, { crc, body }: S3Part): string {
  if (crc !== undefined || place.origin.startsWith("https:")) return "UNSIGNED-PAYLOAD";
  return createHash("sha256").update(body).digest("hex");
}

async function send(
  { connection, agent, uri }: PartTarget,
  path: string,
  headers: Record<string, string>,
  body: Uint8Array,
  signal: AbortSignal,
): Promise<Refusal> {
  const headersTimeout = DEFAULT_TIMEOUTS.headMs + body.length / LEAST_BYTES_PER_MS;
  const sent = new SentBody(body);
  // Undici takes any iterable; its types do not say so.
  const request = {
    origin: connection.place.origin,
    path,
    method: "PUT",
    body: sent as unknown as Readable,
    signal,
    headersTimeout,
  } as const;
  try {
    const answer = await agent.request({ ...request, headers: { ...headers, "content-length": String(body.length) } });
    const said = await answer.body.text();
    return { status: answer.statusCode, headers: answer.headers, body: said.slice(0, MOST_SAID) };
  } catch (error) {
    throw signal.aborted ? abortedError(signal, "The write") : networkError(error, { uri });
  } finally {
    await sent.over;
  }
}

/**
 * A body of which is known when it is not read any more: undici asks an iterator for more when the socket has taken what it gave, or is closed, and closes
 * it where the answer is there before. Of bytes given as they are it would go on reading after such an answer, whose memory may be somebody else's by then.
 */
class SentBody {
  readonly #bytes: Uint8Array;
  /** Resolves at once where no request has come to its body. */
  over: Promise<void> = Promise.resolve();

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    const read = deferred<void>();
    this.over = read.promise;
    try {
      yield this.#bytes;
    } finally {
      read.resolve();
    }
  }
}

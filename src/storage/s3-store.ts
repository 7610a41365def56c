import type { ListObjectsV2Output } from "@aws-sdk/client-s3";
import type { S3Options } from "../api.js";
import { isMillraceError, MillraceError, throwIfAborted } from "../errors.js";
import { unlessAborted } from "../util/unless-aborted.js";
import { HttpTransports, rangeGet } from "./http-get.js";
import { rangeHeader } from "./http-range.js";
import type { HttpTimeouts } from "./http-timeouts.js";
import { header, type Refusal, type Subject } from "./network-errors.js";
import type { Proxies } from "./proxies.js";
import type { RangeGetter } from "./range-answer.js";
import type { RetryPolicy } from "./retry.js";
import { type RequestTarget, S3Connection } from "./s3-client.js";
import { failureOf, s3Error } from "./s3-errors.js";
import { quotedEtag, type S3Upload, writeS3 } from "./s3-write.js";
import type { ListOptions, ReadOptions, Store, StoredObject, WriteOptions } from "./store.js";
import { targetBytes } from "./targets.js";
import { encodePath } from "./uri.js";

export interface S3StoreOptions {
  readonly s3?: S3Options | undefined;
  readonly timeouts?: HttpTimeouts | undefined;
  /** Sends the ranged GETs; stays its owner's to close. Default: a client in this thread. */
  readonly ranges?: RangeGetter | undefined;
  /** Default: none. */
  readonly proxies?: Proxies | undefined;
  /** Of the requests of one write; reads are retried by the wrapper around the store. */
  readonly retry?: RetryPolicy | undefined;
  /** Told what a person has to see to. Default: nobody. */
  readonly log?: S3Upload["log"];
}

/**
 * One bucket of S3 or a server that speaks like it. Reads are ranged GETs of our own with If-Match, signed by us; all else goes by the AWS SDK.
 * `uri` is `s3://bucket`, with a server other than AWS `s3://bucket@host:port`, so that equal names on two servers never mix.
 */
export class S3Store implements Store {
  readonly uri: string;
  readonly #bucket: string;
  readonly #connection: S3Connection;
  readonly #transports: HttpTransports;
  readonly #retry: RetryPolicy;
  readonly #log: S3Upload["log"];
  /** A request has shown that the bucket is there: a missing object is then a missing key. */
  #bucketSeen = false;

  private constructor(bucket: string, connection: S3Connection, transports: HttpTransports, options: S3StoreOptions) {
    const { host } = connection.place;
    this.uri = /\.amazonaws\.com(\.cn)?$/.test(host) ? `s3://${bucket}` : `s3://${bucket}@${host.replace(`${bucket}.`, "")}`;
    this.#bucket = bucket;
    this.#connection = connection;
    this.#transports = transports;
    this.#retry = options.retry ?? {};
    this.#log = options.log;
  }

  /** Loads the SDK and resolves endpoint and region; makes no request. Throws MILLRACE_CONFIG. */
  static async open(bucket: string, options: S3StoreOptions = {}): Promise<S3Store> {
    const transports = new HttpTransports(options.timeouts, options.ranges, options.proxies);
    return new S3Store(bucket, await S3Connection.open(bucket, options.s3 ?? {}, options.timeouts ?? {}, transports), transports, options);
  }

  async *list(prefix: string, { signal, startAfter }: ListOptions = {}): AsyncIterable<StoredObject> {
    let token: string | undefined;
    do {
      const page = await this.#listPage(prefix, token, startAfter, signal);
      for (const { Key, Size, ETag, LastModified } of page.Contents ?? []) {
        const path = page.EncodingType === "url" ? decodeKey(Key!) : Key!;
        yield { path, size: Size!, etag: quotedEtag(ETag!), lastModified: LastModified };
      }
      const next = page.IsTruncated ? page.NextContinuationToken : undefined;
      if (page.IsTruncated && (next === undefined || next === token)) {
        const uri = this.#uri(prefix);
        throw new MillraceError("MILLRACE_UNAVAILABLE", `${uri}: the server's listing does not go on: a page without a new token`, { uri });
      }
      token = next;
    } while (token !== undefined);
  }

  async stat(path: string, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<StoredObject> {
    const subject = { uri: this.#uri(path) };
    if (path === "") throw new MillraceError("MILLRACE_NOT_FOUND", `${subject.uri}: names a bucket, not an object`, subject);
    try {
      const input = { Bucket: this.#bucket, Key: path };
      const head = await this.#connection.send((client, options) => client.headObject(input, options), subject, signal);
      this.#bucketSeen = true;
      return { path, size: head.ContentLength ?? 0, etag: quotedEtag(head.ETag ?? ""), lastModified: head.LastModified };
    } catch (error) {
      // HEAD's 404 has no body to say what is missing.
      if (isMillraceError(error, "MILLRACE_NOT_FOUND")) await this.#checkBucket(subject, signal);
      throw error;
    }
  }

  async readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], options: ReadOptions = {}): Promise<void> {
    const range = { begin, end: begin + targetBytes(targets) };
    throwIfAborted(options.signal, "The read");
    if (range.end === range.begin) return;
    const { place } = this.#connection;
    let target: RequestTarget = { origin: place.origin, host: place.host, path: place.base + encodePath(object.path) };
    const condition = { range: rangeHeader(begin, range.end), "if-match": object.etag, "accept-encoding": "identity" };
    const uri = this.#uri(object.path);
    for (let mended = false; ; mended = true) {
      const get = { method: "GET", host: target.host, path: target.path };
      const { headers, credentials } = await unlessAborted(this.#connection.sign(get, condition), options.signal, "The read");
      const request = { uri, range, object, origin: target.origin, path: target.path, headers, versionOf: etagOf };
      const refusal = await rangeGet(this.#transports, request, targets, options);
      if (refusal === undefined) return;
      const failure = failureOf(refusal);
      const elsewhere = redirected(failure, target);
      if (mended || !(elsewhere || (await this.#connection.mend(failure, credentials)))) throw s3Error(failure, request);
      target = elsewhere ?? target;
    }
  }

  async write(path: string, parts: AsyncIterable<Uint8Array>, options: WriteOptions = {}): Promise<StoredObject> {
    throwIfAborted(options.signal, "The write");
    const { agent } = this.#transports;
    const [connection, bucket, retry, log] = [this.#connection, this.#bucket, this.#retry, this.#log];
    return writeS3({ connection, agent, bucket, path, uri: this.#uri(path), retry, options, log }, parts);
  }

  async remove(path: string, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    const input = { Bucket: this.#bucket, Key: path };
    await this.#connection.send((client, options) => client.deleteObject(input, options), { uri: this.#uri(path) }, signal);
  }

  async close(): Promise<void> {
    this.#connection.client.destroy();
    await this.#transports.close();
  }

  async #listPage(
    prefix: string,
    token: string | undefined,
    startAfter: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<ListObjectsV2Output> {
    const input = {
      Bucket: this.#bucket,
      Prefix: prefix,
      // Keys may hold characters that XML cannot.
      EncodingType: "url" as const,
      ...(token !== undefined ? { ContinuationToken: token } : startAfter !== undefined && { StartAfter: startAfter }),
    };
    const page = await this.#connection.send((client, o) => client.listObjectsV2(input, o), { uri: this.#uri(prefix) }, signal);
    this.#bucketSeen = true;
    return page;
  }

  /** Throws MILLRACE_NOT_FOUND with the bucket's name where it is the bucket that is missing. */
  async #checkBucket(subject: Subject, signal: AbortSignal | undefined): Promise<void> {
    if (this.#bucketSeen) return;
    try {
      await this.#connection.send((client, options) => client.headBucket({ Bucket: this.#bucket }, options), subject, signal);
    } catch (error) {
      // Who may read objects may still not be allowed to look at the bucket: that says nothing.
      if (!isMillraceError(error, "MILLRACE_NOT_FOUND")) return;
      const message = `${subject.uri}: no such bucket: "${this.#bucket}"; check its name, the endpoint and the region`;
      throw new MillraceError("MILLRACE_NOT_FOUND", message, { uri: subject.uri, cause: error });
    }
    this.#bucketSeen = true;
  }

  #uri(path: string): string {
    return `${this.uri}/${path}`;
  }
}

/** Where S3 sends a request while the name of a new bucket is not known everywhere: another host, which gets a signature of its own. */
function redirected({ status, headers }: Refusal, { origin }: RequestTarget): RequestTarget | undefined {
  // Taken apart as it is: URL would rewrite paths with dots in them.
  const location = /^(https?:\/\/([^/?#@]+))(\/[^?#]*)$/.exec(header(headers, "location") ?? "");
  if (status !== 307 || location === null || (origin.startsWith("https:") && location[1]!.startsWith("http:"))) return undefined;
  return { origin: location[1]!, host: location[2]!, path: location[3]! };
}

function etagOf(headers: Refusal["headers"]): string | undefined {
  const etag = header(headers, "etag");
  return etag === undefined ? undefined : quotedEtag(etag);
}

/** S3 encodes listed keys as forms do: a plus is a space. */
function decodeKey(key: string): string {
  return decodeURIComponent(key.replaceAll("+", " "));
}

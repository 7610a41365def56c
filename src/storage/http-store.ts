import { abortedError, MillraceError, throwIfAborted } from "../errors.js";
import { HttpTransports, rangeGet } from "./http-get.js";
import { parseContentRange, rangeHeader } from "./http-range.js";
import type { HttpTimeouts } from "./http-timeouts.js";
import { header, networkError, type Refusal, type Subject, statusError } from "./network-errors.js";
import type { Proxies } from "./proxies.js";
import type { RangeGetter } from "./range-answer.js";
import type { ReadOptions, Store, StoredObject } from "./store.js";
import { targetBytes } from "./targets.js";
import { redactUri } from "./uri.js";

/** Redirects followed for one request: as many as curl's users need, few enough to end a loop quickly. */
const MAX_REDIRECTS = 5;
const REDIRECTS: ReadonlySet<number> = new Set([301, 302, 303, 307, 308]);
/** Answers of servers (and of URLs signed for GET only) that do not take HEAD. */
const HEAD_REFUSED: ReadonlySet<number> = new Set([403, 405, 501]);
/** A compressed body has other offsets than the object. */
const IDENTITY = { "accept-encoding": "identity" } as const;

/**
 * Objects of a web server, read only: HEAD (or a GET of the first byte where HEAD is refused) and ranged GETs. A path is the URL's path and
 * query as they are sent, percent-encoded by the caller where they need it. The etag is the strong ETag, else Last-Modified, else the weak
 * ETag, else the size: with less than a strong ETag a change within a second, or of equal size, may go unseen.
 * It cannot be listed: `list` throws MILLRACE_CONFIG.
 */
export class HttpStore implements Store {
  readonly uri: string;
  readonly #transports: HttpTransports;

  /** `root`: `https://host:port`. */
  constructor(root: string, timeouts?: HttpTimeouts, ranges?: RangeGetter, proxies?: Proxies) {
    this.uri = root;
    this.#transports = new HttpTransports(timeouts, ranges, proxies);
  }

  /** An http server has no listing; the error comes where the caller iterates. */
  list(prefix: string): AsyncIterable<StoredObject> {
    const uri = redactUri(`${this.uri}/${prefix}`);
    const message = `${uri}: an http store cannot be listed: give the URLs as a list or a brace pattern`;
    const next = () => Promise.reject(new MillraceError("MILLRACE_CONFIG", message, { uri }));
    return { [Symbol.asyncIterator]: () => ({ next }) };
  }

  async stat(path: string, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<StoredObject> {
    const subject = { uri: `${this.uri}/${path}` };
    let response = await this.#head(this.#url(path), "HEAD", subject, signal);
    if (HEAD_REFUSED.has(response.status)) response = await this.#head(this.#url(path), "GET", subject, signal);
    const { status, headers } = response;
    if (status !== 200 && status !== 206 && status !== 416) throw statusError(response, subject);
    const size = sizeOf(response);
    if (size === undefined)
      throw new MillraceError("MILLRACE_CONFIG", `${redactUri(subject.uri)}: the server does not say how large the object is`, {
        uri: redactUri(subject.uri),
      });
    const modified = Date.parse(header(headers, "last-modified") ?? "");
    return { path, size, etag: versionOf(headers, size), lastModified: Number.isNaN(modified) ? undefined : new Date(modified) };
  }

  async readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], options: ReadOptions = {}): Promise<void> {
    const range = { begin, end: begin + targetBytes(targets) };
    throwIfAborted(options.signal, "The read");
    if (range.end === range.begin) return;
    const uri = `${this.uri}/${object.path}`;
    const headers = { ...IDENTITY, range: rangeHeader(begin, range.end), ...condition(object.etag) };
    let url = this.#url(object.path);
    for (let hops = 0; ; hops++) {
      const request = { uri, origin: url.origin, path: url.pathname + url.search, headers, range, object, versionOf };
      const refusal = await rangeGet(this.#transports, request, targets, options);
      if (refusal === undefined) return;
      url = redirected(refusal, url, hops, request);
    }
  }

  async close(): Promise<void> {
    await this.#transports.close();
  }

  async #head(start: URL, method: "HEAD" | "GET", subject: Subject, signal: AbortSignal | undefined): Promise<Refusal> {
    const headers = method === "GET" ? { ...IDENTITY, range: rangeHeader(0, 1) } : IDENTITY;
    let url = start;
    for (let hops = 0; ; hops++) {
      const answer = await this.#request(url, method, headers, subject, signal);
      if (!REDIRECTS.has(answer.status)) return answer;
      url = redirected(answer, url, hops, subject);
    }
  }

  async #request(
    url: URL,
    method: "HEAD" | "GET",
    headers: Record<string, string>,
    subject: Subject,
    signal: AbortSignal | undefined,
  ): Promise<Refusal> {
    throwIfAborted(signal, "The stat");
    try {
      const { origin, pathname, search } = url;
      const answer = await this.#transports.agent.request({ origin, path: pathname + search, method, headers, signal: signal ?? null });
      // The head is all that is wanted. A server that ignores Range would send the whole object: past the limit the connection is dropped.
      await answer.body.dump({ limit: 8192 }).catch(() => undefined);
      return { status: answer.statusCode, headers: answer.headers, body: "" };
    } catch (error) {
      throw signal?.aborted ? abortedError(signal, "The stat") : networkError(error, subject);
    }
  }

  #url(path: string): URL {
    return new URL(`${this.uri}/${path}`);
  }
}

/** Where the answer sends us. Throws what the answer means where it is no redirect. */
function redirected(answer: Refusal, from: URL, hops: number, subject: Subject): URL {
  const location = header(answer.headers, "location");
  if (!REDIRECTS.has(answer.status) || location === undefined) throw statusError(answer, subject);
  const uri = redactUri(subject.uri);
  const wrong = (what: string) => new MillraceError("MILLRACE_CONFIG", `${uri}: ${what}; give the final URL`, { uri });
  if (hops >= MAX_REDIRECTS) throw wrong(`more than ${MAX_REDIRECTS} redirects`);
  if (!URL.canParse(location, from.href)) throw wrong("a redirect to no valid URL");
  const to = new URL(location, from);
  if (to.protocol !== "https:" && (to.protocol !== "http:" || from.protocol === "https:"))
    throw wrong(`a redirect from ${from.protocol} to ${to.protocol} is not followed`);
  return to;
}

function isStrong(etag: string | undefined): etag is string {
  return etag !== undefined && /^"[^"]*"$/.test(etag);
}

function versionOf(headers: Refusal["headers"], size: number): string {
  const etag = header(headers, "etag");
  return isStrong(etag) ? etag : (header(headers, "last-modified") ?? etag ?? `size ${size}`);
}

/** The header that makes the server refuse another version, where it can know one. */
function condition(version: string): Record<string, string> {
  if (/^"/.test(version)) return { "if-match": version };
  return Number.isNaN(Date.parse(version)) || version.startsWith("size ") || version.startsWith("W/")
    ? {}
    : { "if-unmodified-since": version };
}

function sizeOf({ status, headers }: Refusal): number | undefined {
  if (status === 206) return parseContentRange(header(headers, "content-range"))?.size;
  // The first byte of an object that has none.
  if (status === 416) return /^bytes \*\/0$/.test(header(headers, "content-range") ?? "") ? 0 : undefined;
  const length = header(headers, "content-length");
  return length !== undefined && /^\d{1,16}$/.test(length) ? Number(length) : undefined;
}

import type { Dispatcher } from "undici";
import { abortedError, MillraceError } from "../errors.js";
import { parseContentRange } from "./http-range.js";
import { header, networkError, type Refusal, type Subject } from "./network-errors.js";
import type { ReadOptions, StoredObject } from "./store.js";
import { TargetWriter, targetBytes } from "./targets.js";
import { redactUri } from "./uri.js";

/** One ranged GET, signed and ready to go. Its `headers` hold the Range and the condition on the version. */
export interface RangeRequest extends Subject {
  /** `https://host:port` */
  readonly origin: string;
  /** Percent-encoded, with query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly range: { readonly begin: number; readonly end: number };
  readonly object: StoredObject;
  /** The version that a response head speaks of, in the form of `object.etag`; undefined where it says nothing. */
  readonly versionOf: (headers: Refusal["headers"], size: number) => string | undefined;
}

/** Enough of an error's body to find its code. */
const REFUSAL_BYTES = 8192;

/**
 * Sends one GET and copies its body from the socket's chunks to the targets, which are `range.end - range.begin` bytes together.
 * Resolves to undefined when the targets are full or the claim was refused, and to the response where the server answered with another status.
 * Once it has settled, nothing more is written. Throws MILLRACE_CHANGED, _CONFIG, _TIMEOUT, _UNAVAILABLE, _ABORTED.
 */
export function rangeGet(
  dispatcher: Dispatcher,
  request: RangeRequest,
  targets: readonly Uint8Array[],
  options: ReadOptions = {},
): Promise<Refusal | undefined> {
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted) return reject(abortedError(options.signal, "The read"));
    const exchange = new RangeExchange(request, targets, options, resolve, reject);
    dispatcher.dispatch({ origin: request.origin, path: request.path, method: "GET", headers: request.headers }, exchange);
  });
}

class RangeExchange implements Dispatcher.DispatchHandler {
  readonly #request: RangeRequest;
  readonly #writer: TargetWriter;
  readonly #wanted: number;
  readonly #options: ReadOptions;
  readonly #resolve: (refusal: Refusal | undefined) => void;
  readonly #reject: (error: MillraceError) => void;
  #controller: Dispatcher.DispatchController | undefined;
  #received = 0;
  #refusal: { status: number; headers: Refusal["headers"]; chunks: Buffer[]; bytes: number } | undefined;
  #settled = false;

  constructor(
    request: RangeRequest,
    targets: readonly Uint8Array[],
    options: ReadOptions,
    resolve: (refusal: Refusal | undefined) => void,
    reject: (error: MillraceError) => void,
  ) {
    this.#request = request;
    this.#writer = new TargetWriter(targets);
    this.#wanted = targetBytes(targets);
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    options.signal?.addEventListener("abort", this.#onAbort, { once: true });
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    this.#controller = controller;
    // Aborted while the request still waited for its connection: end it as soon as there is something to end.
    if (this.#settled) controller.abort(new Error("aborted before it was sent"));
  }

  onResponseStart(_controller: Dispatcher.DispatchController, status: number, headers: Refusal["headers"]): void {
    if (this.#settled || status < 200) return;
    if (status !== 206 && status !== 200) {
      this.#refusal = { status, headers, chunks: [], bytes: 0 };
      return;
    }
    const wrong = this.#checkHead(status, headers);
    if (wrong !== undefined) this.#fail(wrong);
    else if (this.#options.claim !== undefined && !this.#options.claim()) this.#succeed(undefined);
  }

  onResponseData(_controller: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#settled) return;
    if (this.#refusal !== undefined) this.#keepRefusal(chunk);
    else if (this.#received + chunk.length > this.#wanted)
      this.#fail(this.#error("MILLRACE_UNAVAILABLE", "the server sent more bytes than it was asked for"));
    else this.#keepBytes(chunk);
  }

  onResponseEnd(): void {
    if (this.#settled) return;
    if (this.#refusal !== undefined) this.#endRefusal();
    else if (this.#received < this.#wanted)
      this.#fail(this.#error("MILLRACE_UNAVAILABLE", `the body ended after ${this.#received} of ${this.#wanted} bytes`));
    else this.#succeed(undefined);
  }

  onResponseError(_controller: Dispatcher.DispatchController, error: Error): void {
    if (this.#settled) return;
    // What was kept of a refusal's body says more than the broken socket does.
    if (this.#refusal !== undefined) this.#endRefusal();
    else this.#fail(networkError(error, this.#request));
  }

  readonly #onAbort = (): void => this.#fail(abortedError(this.#options.signal!, `The read of ${redactUri(this.#request.uri)}`));

  #keepBytes(chunk: Buffer): void {
    this.#writer.write(chunk);
    this.#received += chunk.length;
    if (this.#options.progress !== undefined) this.#options.progress.received += chunk.length;
  }

  #keepRefusal(chunk: Buffer): void {
    const refusal = this.#refusal!;
    refusal.chunks.push(chunk);
    refusal.bytes += chunk.length;
    if (refusal.bytes >= REFUSAL_BYTES) this.#endRefusal();
  }

  #endRefusal(): void {
    const { status, headers, chunks } = this.#refusal!;
    this.#succeed({ status, headers, body: Buffer.concat(chunks).subarray(0, REFUSAL_BYTES).toString() });
  }

  /** Undefined where the head promises exactly the bytes that were asked for, of the right version. */
  #checkHead(status: number, headers: Refusal["headers"]): MillraceError | undefined {
    const { object, range, versionOf } = this.#request;
    const encoding = header(headers, "content-encoding");
    if (encoding !== undefined && encoding !== "" && encoding !== "identity")
      return this.#error("MILLRACE_CONFIG", `the server sends the object encoded (${encoding}): store it without content-encoding`);
    const length = header(headers, "content-length");
    const held = status === 206 ? parseContentRange(header(headers, "content-range")) : wholeObject(length);
    // A 206 may leave the size open; the version then rests on the etag alone.
    const size = held?.size ?? object.size;
    const version = versionOf(headers, size);
    if (size !== object.size || (version !== undefined && version !== object.etag))
      return this.#error("MILLRACE_CHANGED", "the object has changed since it was listed; open the dataset again");
    if (held === undefined && status === 206) return this.#error("MILLRACE_UNAVAILABLE", "a partial answer without a valid Content-Range");
    const { begin, end } = held ?? { begin: 0, end: object.size };
    if (status === 200 && (begin !== range.begin || end !== range.end))
      return this.#error("MILLRACE_CONFIG", "the server does not support ranged requests: it sent the whole object");
    if (begin !== range.begin || end !== range.end || (length !== undefined && Number(length) !== this.#wanted))
      return this.#error("MILLRACE_UNAVAILABLE", `the server answered with bytes ${begin} to ${end}`);
    return undefined;
  }

  #error(code: MillraceError["code"], said: string): MillraceError {
    const { range } = this.#request;
    const uri = redactUri(this.#request.uri);
    return new MillraceError(code, `${uri}: ${said} (bytes ${range.begin} to ${range.end})`, { uri, range });
  }

  #succeed(refusal: Refusal | undefined): void {
    this.#end();
    // Does nothing to a response that is at its end; one that is not takes its connection with it.
    if (this.#received < this.#wanted) this.#controller?.abort(new Error("the rest is not needed"));
    this.#resolve(refusal);
  }

  #fail(error: MillraceError): void {
    if (this.#settled) return;
    this.#end();
    this.#controller?.abort(error);
    this.#reject(error);
  }

  #end(): void {
    this.#settled = true;
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
  }
}

function wholeObject(length: string | undefined): { begin: number; end: number; size: number } | undefined {
  const size = length === undefined ? Number.NaN : Number(length);
  return Number.isSafeInteger(size) ? { begin: 0, end: size, size } : undefined;
}

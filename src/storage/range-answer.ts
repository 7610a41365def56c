import { MillraceError } from "../errors.js";
import { parseContentRange } from "./http-range.js";
import { header, type Refusal, type Subject } from "./network-errors.js";
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

/**
 * What became of a request. "done": the targets are full, or the claim was refused. "stale": the connection, used before, was closed before
 * the answer began. "unexpected": an answer that is none of this client's, nothing of which was used.
 */
export type Outcome = Refusal | "done" | "stale" | "unexpected";

/** Enough of an error's body to find its code. */
const REFUSAL_BYTES = 8192;

/** What came in answer to one RangeRequest, whatever the transport: checks the head, asks the claim, fills the targets. No I/O. */
export class RangeAnswer {
  readonly request: RangeRequest;
  readonly #writer: TargetWriter;
  readonly #wanted: number;
  readonly #options: ReadOptions;
  #received = 0;
  #refusal: { readonly status: number; readonly headers: Refusal["headers"] } | undefined;
  #said: Buffer = Buffer.alloc(0);

  /** The targets hold `range.end - range.begin` bytes together. */
  constructor(request: RangeRequest, targets: readonly Uint8Array[], options: ReadOptions) {
    this.request = request;
    this.#writer = new TargetWriter(targets);
    this.#wanted = targetBytes(targets);
    this.#options = options;
  }

  /** Body bytes that are still to come. */
  get missing(): number {
    return this.#wanted - this.#received;
  }

  /**
   * "body": the bytes asked for follow. "refusal": the server answered with another status. "unclaimed": another request has won.
   * Throws MILLRACE_CHANGED, _CONFIG and _UNAVAILABLE where the head does not promise exactly the bytes asked for, of the right version.
   */
  head(status: number, headers: Refusal["headers"]): "body" | "refusal" | "unclaimed" {
    if (status !== 206 && status !== 200) {
      this.#refusal = { status, headers };
      return "refusal";
    }
    this.#checkHead(status, headers);
    return this.#options.claim === undefined || this.#options.claim() ? "body" : "unclaimed";
  }

  /** What is left of the target at hand: memory for the next bytes of the body. Only where some are missing. */
  space(): Uint8Array {
    return this.#writer.space();
  }

  /** The first `count` bytes of `space()` are there. */
  filled(count: number): void {
    this.#writer.advance(count);
    this.#count(count);
  }

  /** Copies the next bytes of the body. Throws MILLRACE_UNAVAILABLE, with none of them written, where they are more than are missing. */
  write(chunk: Uint8Array): void {
    if (chunk.length > this.missing) throw this.error("MILLRACE_UNAVAILABLE", "the server sent more bytes than it was asked for");
    this.#writer.write(chunk);
    this.#count(chunk.length);
  }

  /** Bytes of a refusal's body that were kept. */
  get kept(): number {
    return this.#said.length;
  }

  /** Keeps the next bytes of a refusal's body. True when there are enough. */
  keep(chunk: Uint8Array): boolean {
    this.#said = Buffer.concat([this.#said, chunk]);
    return this.#said.length >= REFUSAL_BYTES;
  }

  /** The refusal with what was kept of its body; undefined where the answer is none. */
  refusal(): Refusal | undefined {
    return this.#refusal && { ...this.#refusal, body: this.#said.toString("utf8", 0, REFUSAL_BYTES) };
  }

  /** The body has ended, or the connection has. */
  cutShort(): MillraceError {
    return this.error("MILLRACE_UNAVAILABLE", `the body ended after ${this.#received} of ${this.#wanted} bytes`);
  }

  error(code: MillraceError["code"], said: string): MillraceError {
    const { range } = this.request;
    const uri = redactUri(this.request.uri);
    return new MillraceError(code, `${uri}: ${said} (bytes ${range.begin} to ${range.end})`, { uri, range });
  }

  #count(bytes: number): void {
    this.#received += bytes;
    if (this.#options.progress !== undefined) this.#options.progress.received += bytes;
  }

  #checkHead(status: number, headers: Refusal["headers"]): void {
    const { object, range, versionOf } = this.request;
    const encoding = header(headers, "content-encoding");
    if (encoding !== undefined && encoding !== "" && encoding !== "identity")
      throw this.error("MILLRACE_CONFIG", `the server sends the object encoded (${encoding}): store it without content-encoding`);
    const length = header(headers, "content-length");
    const held = status === 206 ? parseContentRange(header(headers, "content-range")) : wholeObject(length);
    // A 206 may leave the size open; the version then rests on the etag alone.
    const size = held?.size ?? object.size;
    const version = versionOf(headers, size);
    if (size !== object.size || (version !== undefined && version !== object.etag))
      throw this.error("MILLRACE_CHANGED", "the object has changed since it was listed; open the dataset again");
    if (held === undefined && status === 206) throw this.error("MILLRACE_UNAVAILABLE", "a partial answer without a valid Content-Range");
    const { begin, end } = held ?? { begin: 0, end: object.size };
    if (status === 200 && (begin !== range.begin || end !== range.end))
      throw this.error("MILLRACE_CONFIG", "the server does not support ranged requests: it sent the whole object");
    if (begin !== range.begin || end !== range.end || (length !== undefined && Number(length) !== this.#wanted))
      throw this.error("MILLRACE_UNAVAILABLE", `the server answered with bytes ${begin} to ${end}`);
  }
}

function wholeObject(length: string | undefined): { begin: number; end: number; size: number } | undefined {
  const size = length === undefined ? Number.NaN : Number(length);
  return Number.isSafeInteger(size) ? { begin: 0, end: size, size } : undefined;
}

import { MillraceError } from "../errors.js";
import { adjoinAll } from "../util/adjoin.js";
import type { Refusal, Subject } from "./network-errors.js";
import type { ReadProgress } from "./store.js";
import { TargetWriter, targetBytes } from "./targets.js";
import { redactUri } from "./uri.js";

/** One ranged GET as a connection sends it. Plain data: it can go to another thread. */
export interface RangeCall extends Subject {
  /** `https://host:port` */
  readonly origin: string;
  /** Percent-encoded, with query. */
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly range: { readonly begin: number; readonly end: number };
}

/** "body": the bytes asked for follow. "refusal": the server answered with another status. "unclaimed": another request has won. */
export type Verdict = "body" | "refusal" | "unclaimed";

/** A response with this status brings bytes of the object. */
export function bringsBytes(status: number): boolean {
  return status === 206 || status === 200;
}

/** Enough of an error's body to find its code. */
const REFUSAL_BYTES = 8192;

/** Where a connection puts what comes in answer to one RangeCall. Who made it judges the head; nothing is written before. No I/O. */
export abstract class RangeSink {
  readonly request: RangeCall;
  readonly targets: readonly Uint8Array[];
  readonly #writer: TargetWriter;
  readonly #progress: ReadProgress | undefined;
  #missing: number;
  #refusal: { readonly status: number; readonly headers: Refusal["headers"] } | undefined;
  #said: Buffer = Buffer.alloc(0);

  /** The targets hold `range.end - range.begin` bytes together. */
  constructor(request: RangeCall, targets: readonly Uint8Array[], progress?: ReadProgress) {
    this.request = request;
    this.targets = targets;
    this.#writer = new TargetWriter(adjoinAll(targets));
    this.#progress = progress;
    this.#missing = targetBytes(targets);
  }

  /** Body bytes that are still to come. */
  get missing(): number {
    return this.#missing;
  }

  /** Judges a response's head, at once or later: the body waits for it. Throws what the head makes of the read. */
  abstract head(status: number, headers: Refusal["headers"]): Verdict | Promise<Verdict>;

  /** An interim answer (1xx) came: the server is at work. */
  interim(): void {}

  /** The verdict on a status that brings no bytes of the object. */
  protected refused(status: number, headers: Refusal["headers"]): "refusal" {
    this.#refusal = { status, headers };
    return "refusal";
  }

  /** What is left of the target at hand: memory for the next bytes of the body. Only where some are missing. */
  space(): Uint8Array {
    return this.#writer.space();
  }

  /** The first `count` bytes of `space()` are there. */
  filled(count: number): void {
    this.#writer.advance(count);
    this.landed(count);
  }

  /** Copies the next bytes of the body. Throws MILLRACE_UNAVAILABLE, with none of them written, where they are more than are missing. */
  write(chunk: Uint8Array): void {
    if (chunk.length > this.missing) throw this.error("MILLRACE_UNAVAILABLE", "the server sent more bytes than it was asked for");
    this.#writer.write(chunk);
    this.landed(chunk.length);
  }

  /** The next `count` bytes are in the targets. */
  landed(count: number): void {
    this.#missing -= count;
    if (this.#progress !== undefined) this.#progress.received += count;
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
    const { begin, end } = this.request.range;
    return this.error("MILLRACE_UNAVAILABLE", `the body ended after ${end - begin - this.missing} of ${end - begin} bytes`);
  }

  error(code: MillraceError["code"], said: string): MillraceError {
    const { range } = this.request;
    const uri = redactUri(this.request.uri);
    return new MillraceError(code, `${uri}: ${said} (bytes ${range.begin} to ${range.end})`, { uri, range });
  }
}

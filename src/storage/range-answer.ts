import { parseContentRange } from "./http-range.js";
import { header, type Refusal } from "./network-errors.js";
import { bringsBytes, type RangeCall, RangeSink, type Verdict } from "./range-sink.js";
import type { ReadOptions, StoredObject } from "./store.js";

/** One ranged GET, signed and ready to go. Its `headers` hold the Range and the condition on the version. */
export interface RangeRequest extends RangeCall {
  readonly object: StoredObject;
  /** The version that a response head speaks of, in the form of `object.etag`; undefined where it says nothing. */
  readonly versionOf: (headers: Refusal["headers"], size: number) => string | undefined;
}

/**
 * What became of a request. "done": the targets are full, or the claim was refused. "stale": the connection, used before, was closed before
 * the answer began. "unexpected": an answer that is none of this client's, nothing of which was used.
 */
export type Outcome = Refusal | "done" | "stale" | "unexpected";

/** What sends ranged GETs and lets their answers take what comes. */
export interface RangeGetter {
  /**
   * "unexpected": the server's answer is none of this client's, and nothing of it was used. Once it has settled, nothing more is written.
   * Throws MILLRACE_CHANGED, _CONFIG, _TIMEOUT, _UNAVAILABLE, _ABORTED, _CLOSED.
   */
  get(answer: RangeAnswer, signal: AbortSignal | undefined): Promise<Exclude<Outcome, "stale">>;
  /** Requests under way fail with MILLRACE_CLOSED, later ones too. Resolves when every socket is closed. Idempotent. */
  close(): Promise<void>;
}

/** What came in answer to one RangeRequest, whatever the transport: checks the head, asks the claim, fills the targets. No I/O. */
export class RangeAnswer extends RangeSink {
  declare readonly request: RangeRequest;
  readonly #claim: (() => boolean) | undefined;

  /** The targets hold `range.end - range.begin` bytes together. */
  constructor(request: RangeRequest, targets: readonly Uint8Array[], { claim, progress }: ReadOptions) {
    super(request, targets, progress);
    this.#claim = claim;
  }

  /**
   * Checks the head and asks the claim.
   * Throws MILLRACE_CHANGED, _CONFIG and _UNAVAILABLE where the head does not promise exactly the bytes asked for, of the right version.
   */
  head(status: number, headers: Refusal["headers"]): Verdict {
    if (!bringsBytes(status)) return this.refused(status, headers);
    this.#checkHead(status, headers);
    return this.#claim === undefined || this.#claim() ? "body" : "unclaimed";
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
      throw this.error("MILLRACE_CHANGED", "the object has changed since it was listed; open it again");
    if (held === undefined && status === 206) throw this.error("MILLRACE_UNAVAILABLE", "a partial answer without a valid Content-Range");
    const { begin, end } = held ?? { begin: 0, end: object.size };
    if (status === 200 && (begin !== range.begin || end !== range.end))
      throw this.error("MILLRACE_CONFIG", "the server does not support ranged requests: it sent the whole object");
    if (begin !== range.begin || end !== range.end || (length !== undefined && Number(length) !== this.missing))
      throw this.error("MILLRACE_UNAVAILABLE", `the server answered with bytes ${begin} to ${end}`);
  }
}

function wholeObject(length: string | undefined): { begin: number; end: number; size: number } | undefined {
  const size = length === undefined ? Number.NaN : Number(length);
  return Number.isSafeInteger(size) ? { begin: 0, end: size, size } : undefined;
}

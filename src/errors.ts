/** What went wrong, as a stable code: match on this, never on the message. */
export type MillraceErrorCode =
  `MILLRACE_${"NOT_FOUND" | "PERMISSION" | "CHANGED" | "CORRUPT" | "FORMAT" | "DECODE" | "TIMEOUT" | "UNAVAILABLE" | "CONFIG" | "RESUME" | "NO_SPACE" | "ABORTED" | "CLOSED"}`;

export interface MillraceErrorDetails {
  /** The object concerned, credentials already left out. */
  readonly uri?: string | undefined;
  /** Bytes of the object concerned: `begin` inclusive, `end` exclusive. */
  readonly range?: { readonly begin: number; readonly end: number } | undefined;
  readonly sample?: { readonly key: string; readonly index: number } | undefined;
  readonly cause?: unknown;
  /** How long the origin asked us to wait before the next try. Set wherever it asked for fewer requests: 0 where it did not say how long. */
  readonly retryAfterMs?: number | undefined;
}

/** Every failure of this library. `code` is stable; the message says what to do. */
export class MillraceError extends Error {
  readonly code: MillraceErrorCode;
  declare readonly uri?: string;
  declare readonly range?: { readonly begin: number; readonly end: number };
  declare readonly sample?: { readonly key: string; readonly index: number };
  declare readonly retryAfterMs?: number;

  constructor(code: MillraceErrorCode, message: string, details: MillraceErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "MillraceError";
    this.code = code;
    for (const name of ["uri", "range", "sample", "retryAfterMs"] as const)
      if (details[name] !== undefined) Object.defineProperty(this, name, { value: details[name], enumerable: true });
  }
}

/** True for a MillraceError, with this code where one is given. */
export function isMillraceError(error: unknown, code?: MillraceErrorCode): error is MillraceError {
  return error instanceof MillraceError && (code === undefined || error.code === code);
}

/** The error every aborted call rejects with; the signal's reason is its cause. */
export function abortedError(signal: AbortSignal, what = "The operation"): MillraceError {
  return new MillraceError("MILLRACE_ABORTED", `${what} was aborted`, { cause: signal.reason });
}

/** Throws the aborted error if the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined, what?: string): void {
  if (signal?.aborted) throw abortedError(signal, what);
}

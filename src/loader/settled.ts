/** Waiting for a decoder's promise: not for ever, and not when nobody wants it any more. */
import { abortedError, MillraceError } from "../errors.js";
import type { DecodeContext } from "./sample-context.js";

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === "function";
}

export function timeoutError(timeoutMs: number): MillraceError {
  return new MillraceError("MILLRACE_TIMEOUT", `the decoder took longer than ${timeoutMs} ms; raise decodeTimeout if that is right`);
}

/** The promise's result, within the time, while nobody aborts: MILLRACE_TIMEOUT, MILLRACE_ABORTED. A promise that is late is left to itself. */
export function settled(
  promise: PromiseLike<unknown>,
  context: DecodeContext,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    const end = (error: MillraceError): void => {
      done();
      reject(error);
      context.abort(error);
    };
    const abort = (): void => end(abortedError(signal!, "Decoding"));
    const timer = setTimeout(() => end(timeoutError(timeoutMs)), timeoutMs);
    signal?.addEventListener("abort", abort, { once: true });
    promise.then(
      (value) => {
        done();
        resolve(value);
      },
      (error) => {
        done();
        reject(error);
      },
    );
    // The decoder may have run for long before it gave the promise.
    if (signal?.aborted) abort();
  });
}

import { abortedError } from "../errors.js";

/** Time, behind a seam, so that waits can be tested without waiting. */
export interface Clock {
  /** Milliseconds, never going back; of use only as a difference. */
  now(): number;
  /** Resolves after `ms`; rejects with MILLRACE_ABORTED when the signal fires first, leaving no timer behind. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  sleep: (ms, signal) =>
    new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortedError(signal, "The wait"));
      const onAbort = () => {
        clearTimeout(timer);
        reject(abortedError(signal!, "The wait"));
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      }, ms);
      signal?.addEventListener("abort", onAbort, { once: true });
    }),
};

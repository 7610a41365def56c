import { abortedError } from "../errors.js";

/** Time, behind a seam, so that waits can be tested without waiting. */
export interface Clock {
  /** Milliseconds, never going back; of use only as a difference. */
  now(): number;
  /** Resolves after `ms`; rejects with MILLRACE_ABORTED when the signal fires first, leaving no timer behind. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = { now: () => performance.now(), sleep: (ms, signal) => sleepFor(ms, signal, true) };

/** For work that repeats in the background: its timers do not keep the process alive. */
export const idleClock: Clock = { now: () => performance.now(), sleep: (ms, signal) => sleepFor(ms, signal, false) };

function sleepFor(ms: number, signal: AbortSignal | undefined, holdsProcess: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(abortedError(signal, "The wait"));
    const onAbort = () => {
      clearTimeout(timer);
      reject(abortedError(signal!, "The wait"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, ms);
    if (!holdsProcess) timer.unref();
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

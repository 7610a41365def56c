import { abortedError } from "../../src/errors.js";
import type { Clock } from "../../src/util/clock.js";

/** A clock that stands still until the test moves it, or that jumps over every sleep. */
export class ManualClock implements Clock {
  #now = 0;
  readonly #skips: boolean;
  readonly #sleepers: { at: number; wake: () => void }[] = [];
  /** Lengths of the sleeps asked for, in order. */
  readonly sleeps: number[] = [];

  /** `skips`: a sleep ends at once, and the time it would have taken has passed. */
  constructor(skips = false) {
    this.#skips = skips;
  }

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    this.sleeps.push(ms);
    if (signal?.aborted) return Promise.reject(abortedError(signal));
    if (this.#skips) {
      this.#now += ms;
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => {
      const wake = () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const sleeper = { at: this.#now + ms, wake };
      const onAbort = () => {
        this.#sleepers.splice(this.#sleepers.indexOf(sleeper), 1);
        reject(abortedError(signal!));
      };
      this.#sleepers.push(sleeper);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  after(ms: number, due: () => void): () => void {
    this.sleeps.push(ms);
    const sleeper = { at: this.#now + ms, wake: due };
    this.#sleepers.push(sleeper);
    return () => {
      const at = this.#sleepers.indexOf(sleeper);
      if (at >= 0) this.#sleepers.splice(at, 1);
    };
  }

  /** Timers that are set. */
  get pending(): number {
    return this.#sleepers.length;
  }

  /** Moves on, waking sleepers in their order, and lets their promises run. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      this.#sleepers.sort((a, b) => a.at - b.at);
      const next = this.#sleepers[0];
      if (next === undefined || next.at > end) break;
      this.#sleepers.shift();
      this.#now = next.at;
      next.wake();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#now = end;
    await new Promise((resolve) => setImmediate(resolve));
  }
}

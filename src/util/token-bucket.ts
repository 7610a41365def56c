/**
 * A rate limit that allows debt: a caller may go as soon as the level is above zero and then takes all it needs, so that one amount larger
 * than the bucket passes too, and the next waits until the debt is paid. The long-run rate is exact. Time is given, in milliseconds.
 */
export class TokenBucket {
  readonly #burstMs: number;
  #perMs: number;
  #level: number;
  #at: number;

  /** `perSecond` may be Infinity. `burstMs`: how much unused time is saved up. */
  constructor(perSecond: number, burstMs: number, now: number) {
    this.#perMs = perSecond / 1000;
    this.#burstMs = burstMs;
    this.#level = this.#capacity;
    this.#at = now;
  }

  /** Changes the rate from `now` on. */
  setRate(perSecond: number, now: number): void {
    this.waitMs(now);
    this.#perMs = perSecond / 1000;
    this.#level = Math.min(this.#level, this.#capacity);
  }

  /** Milliseconds until the next take may go; 0 for now. */
  waitMs(now: number): number {
    if (this.#perMs === Number.POSITIVE_INFINITY) return 0;
    this.#level = Math.min(this.#capacity, this.#level + (now - this.#at) * this.#perMs);
    this.#at = now;
    // At least 1 ms, so that rounding cannot make a timer spin.
    return this.#level > 0 ? 0 : Math.max(1, -this.#level / this.#perMs);
  }

  take(amount: number): void {
    this.#level -= amount;
  }

  get #capacity(): number {
    return Math.max(1, this.#perMs * this.#burstMs);
  }
}

/** Reads that are looked back on: at 98 %, five of them are slower than the quantile. */
const LATEST = 256;
/** Reads between two looks, and before the first: fewer say nothing of the slowest few percent. A look costs 10 µs. */
const LOOK_EVERY = 32;
/** Of reads, so many have their first byte before they count as late. */
const QUANTILE = 0.98;
/** Another request takes about a median itself: sooner it gains nothing, and where a tail is that heavy the quantile lies in it. */
const MEDIANS = { least: 2, most: 10 } as const;
/** Sooner, what is late is as likely a busy machine, this one or the server; what hangs does so for seconds. Milliseconds. */
const LEAST_MS = 50;

/** The times to the first byte of an origin's latest reads, and how long a read may go without one before it counts as late. */
export class FirstBytes {
  readonly #latest = new Float64Array(LATEST);
  #count = 0;
  #lateAfterMs = Number.POSITIVE_INFINITY;

  /** Milliseconds; Infinity until there are enough measurements. */
  get lateAfterMs(): number {
    return this.#lateAfterMs;
  }

  add(ms: number): void {
    this.#latest[this.#count++ % LATEST] = ms;
    if (this.#count % LOOK_EVERY === 0) this.#look();
  }

  #look(): void {
    const sorted = this.#latest.slice(0, this.#count).sort();
    const at = (part: number): number => sorted[Math.floor(part * sorted.length)]!;
    const median = at(0.5);
    this.#lateAfterMs = Math.max(LEAST_MS, Math.min(Math.max(at(QUANTILE), MEDIANS.least * median), MEDIANS.most * median));
  }
}

/** How long the loop waited for batches: counted where it waits, on the caller's thread. */

/** Waits of up to 2^15 recent batches: enough for a p99, a fixed 256 KiB at most. */
const RECENT = 2 ** 15;

export class WaitStats {
  #waits = new Float64Array(64);
  #count = 0;
  #totalMs = 0;
  #maxMs = 0;
  #startedAt: number | undefined;
  #endedAt = 0;

  /** The loop asked at `from` and got its batch at `to` (milliseconds of performance.now). */
  add(from: number, to: number): void {
    this.#startedAt ??= from;
    this.#endedAt = to;
    const wait = to - from;
    this.#totalMs += wait;
    this.#maxMs = Math.max(this.#maxMs, wait);
    if (this.#count === this.#waits.length && this.#count < RECENT) {
      const grown = new Float64Array(Math.min(RECENT, this.#count * 2));
      grown.set(this.#waits);
      this.#waits = grown;
    }
    this.#waits[this.#count++ % this.#waits.length] = wait;
  }

  /** Waiting ÷ wall time from the first wait to the last batch. */
  get stallRatio(): number {
    const wall = this.#startedAt === undefined ? 0 : this.#endedAt - this.#startedAt;
    return wall === 0 ? 0 : this.#totalMs / wall;
  }

  get waitMs(): { readonly p50: number; readonly p99: number; readonly max: number } {
    const sorted = this.#waits.slice(0, Math.min(this.#count, this.#waits.length)).sort();
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
    return { p50: at(0.5), p99: at(0.99), max: this.#maxMs };
  }
}

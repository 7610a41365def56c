/**
 * Hedged reads: where a read's answer is late, the same range is asked for a second time, and the first valid head wins ("The Tail at Scale",
 * Dean and Barroso, 2013). Only for stores that ask `claim` before they write: else both requests would write the same memory.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { throwIfAborted } from "../errors.js";
import { type Clock, systemClock } from "../util/clock.js";
import type { StoreCounters } from "./count.js";
import { FirstBytes } from "./first-bytes.js";
import { HedgedRead, type ReadWatcher, type RequestFailure } from "./hedged-read.js";
import type { Pace } from "./pace.js";
import { passedOn } from "./passed-on.js";
import type { Store } from "./store.js";

/** Hedges saved up: a server that dies takes several requests with it at once. */
const BURST = 8;
/** A timer as late as this says that the thread was busy, and that heads may lie unread, milliseconds. */
const BUSY_MS = 5;

/** The system's time, with timers that keep no process alive: the requests they watch do. */
const quietClock: Clock = { now: systemClock.now, sleep: (ms, signal) => sleep(ms, undefined, { ref: false, ...(signal && { signal }) }) };

/** What a hedger advances. */
type HedgeCounters = Pick<StoreCounters, "hedges" | "hedgeWins">;

/** Watches the reads of one origin, and has the late ones sent a second time. */
export class Hedger implements ReadWatcher {
  readonly controllers: AbortController[] = [];
  readonly #counters: HedgeCounters;
  readonly #clock: Clock;
  readonly #firstBytes = new FirstBytes();
  /** Reads without a valid head and without a hedge, the oldest first. */
  readonly #waiting = new Set<HedgedRead>();
  readonly #closing = new AbortController();
  readonly #share: number;
  readonly #pace: Pick<Pace, "refused"> | undefined;
  /** Hedges that may be sent. Earned by reads, so that a short run keeps the share too. */
  #saved = 0;
  #watching = false;

  /**
   * `share`: hedges ÷ reads at most, so that an origin that is slow as a whole is not asked for twice the work. `pace`: told of refusals that its
   * reads hide, being whole in the end.
   */
  constructor(counters: HedgeCounters, share: number, pace?: Pick<Pace, "refused">, clock: Clock = quietClock) {
    this.#counters = counters;
    this.#clock = clock;
    this.#share = share;
    this.#pace = pace;
  }

  now(): number {
    return this.#clock.now();
  }

  began(read: HedgedRead): void {
    this.#saved = Math.min(BURST, this.#saved + this.#share);
    this.#waiting.add(read);
    if (!this.#watching && this.#mayHedge) void this.#watch();
  }

  forget(read: HedgedRead): void {
    this.#waiting.delete(read);
  }

  answered(read: HedgedRead, hedgedAt: number | undefined): void {
    this.#waiting.delete(read);
    // Of a request that has lost it is known only that it took longer: longer than most, which is what counts here.
    this.#firstBytes.add(this.now() - read.beganAt);
    if (hedgedAt === undefined) return;
    this.#firstBytes.add(this.now() - hedgedAt);
    this.#counters.hedgeWins++;
  }

  passedOver({ error, sentAt }: RequestFailure): void {
    this.#pace?.refused(error, sentAt);
  }

  /** No hedges from here on. */
  close(): void {
    this.#saved = Number.NEGATIVE_INFINITY;
    this.#closing.abort();
  }

  get #mayHedge(): boolean {
    return this.#saved >= 1 && this.#firstBytes.lateAfterMs < Number.POSITIVE_INFINITY;
  }

  /** One timer for all reads, since they come of age in the order they began. Ends when none is left, or no hedge may be sent. */
  async #watch(): Promise<void> {
    this.#watching = true;
    for (const read of this.#waiting) {
      await this.#untilLate(read);
      if (!this.#mayHedge) break;
      if (!this.#waiting.delete(read)) continue;
      this.#saved--;
      this.#counters.hedges++;
      read.send();
    }
    this.#watching = false;
  }

  /** Resolves when the read is late, or is waited for no more. */
  async #untilLate(read: HedgedRead): Promise<void> {
    while (this.#mayHedge && this.#waiting.has(read)) {
      const due = read.beganAt + this.#firstBytes.lateAfterMs;
      if (due <= this.now()) return;
      await this.#sleep(due - this.now());
      if (this.now() - due > BUSY_MS) await this.#sleep(1);
    }
  }

  async #sleep(ms: number): Promise<void> {
    // Rejects at close only, after which no hedge may be sent.
    await this.#clock.sleep(ms, this.#closing.signal).catch(() => undefined);
  }
}

/**
 * The store, with late reads hedged. Within retries and limits, around the counters: `withRetry(withLimits(withHedge(withCounters(store))))`. A hedge
 * counts as a request, and takes no place of the limiter's: it stands in for one that does nothing. One hedger for one origin.
 */
export function withHedge(store: Store, hedger: Hedger): Store {
  return {
    ...passedOn(store),
    list: (prefix, options) => store.list(prefix, options),
    stat: (path, options) => store.stat(path, options),
    readInto: async (object, begin, targets, options = {}) => {
      throwIfAborted(options.signal, "The read");
      return new HedgedRead(hedger, (each) => store.readInto(object, begin, targets, each), options).run();
    },
    close: async () => {
      hedger.close();
      await store.close?.();
    },
  };
}

import { abortedError } from "../errors.js";
import { type Clock, systemClock } from "../util/clock.js";
import { TokenBucket } from "../util/token-bucket.js";
import { passedOn } from "./passed-on.js";
import type { ListOptions, Store, StoredObject } from "./store.js";
import { targetBytes } from "./targets.js";

export interface Limits {
  /** Requests in flight, at least 1. */
  readonly concurrency: number;
  /** Default: no limit. */
  readonly requestsPerSecond?: number | undefined;
  /** Bytes a second read from all stores together. Default: no limit. */
  readonly bandwidth?: number | undefined;
  readonly clock?: Clock | undefined;
}

export interface LimiterStats {
  readonly inFlight: number;
  readonly queued: number;
}

interface Waiter {
  readonly priority: number;
  readonly bytes: number;
  readonly go: () => void;
}

/** What a pause lets through at once when it ends: long enough for timers' jitter, too short to count as a burst. */
const BURST_MS = 100;
/** One slot in 8 is kept for demand, so that a loop's own read never waits for a prefetch to end. */
const DEMAND_SHARE = 8;

/** One gate for the requests of all stores: lower priority values go first, first come first served within one. */
export class Limiter {
  readonly #concurrency: number;
  readonly #clock: Clock;
  readonly #requests: TokenBucket;
  readonly #bytes: TokenBucket;
  /** In the order in which they will go. */
  readonly #queue: Waiter[] = [];
  #inFlight = 0;
  #timer: AbortController | undefined;

  constructor({
    concurrency,
    requestsPerSecond = Number.POSITIVE_INFINITY,
    bandwidth = Number.POSITIVE_INFINITY,
    clock = systemClock,
  }: Limits) {
    this.#concurrency = concurrency;
    this.#clock = clock;
    this.#requests = new TokenBucket(requestsPerSecond, BURST_MS, clock.now());
    this.#bytes = new TokenBucket(bandwidth, BURST_MS, clock.now());
  }

  stats(): LimiterStats {
    return { inFlight: this.#inFlight, queued: this.#queue.length };
  }

  /** Runs `work` when its turn has come. An abort before that takes it out of the queue. */
  async run<T>(priority: number, bytes: number, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    await this.#turn(priority, bytes, signal);
    try {
      return await work();
    } finally {
      this.#inFlight--;
      this.#pump();
    }
  }

  #turn(priority: number, bytes: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortedError(signal, "The request"));
      const onAbort = () => {
        this.#queue.splice(this.#queue.indexOf(waiter), 1);
        reject(abortedError(signal!, "The request"));
        this.#pump();
      };
      const go = () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      const waiter: Waiter = { priority, bytes, go };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#insert(waiter);
      this.#pump();
    });
  }

  /** From the back, where a newcomer of equal or higher number belongs: most stop at the first comparison. */
  #insert(waiter: Waiter): void {
    let at = this.#queue.length;
    while (at > 0 && this.#queue[at - 1]!.priority > waiter.priority) at--;
    this.#queue.splice(at, 0, waiter);
  }

  /** Lets go all that may; where tokens are lacking, comes again when there are some. */
  #pump(): void {
    this.#timer?.abort();
    this.#timer = undefined;
    while (this.#queue.length > 0 && this.#inFlight < this.#slotsFor(this.#queue[0]!.priority)) {
      const now = this.#clock.now();
      const waitMs = Math.max(this.#requests.waitMs(now), this.#bytes.waitMs(now));
      if (waitMs > 0) {
        this.#comeAgain(waitMs);
        return;
      }
      const { bytes, go } = this.#queue.shift()!;
      this.#requests.take(1);
      this.#bytes.take(bytes);
      this.#inFlight++;
      go();
    }
  }

  #slotsFor(priority: number): number {
    return priority <= 0 ? this.#concurrency : this.#concurrency - Math.floor(this.#concurrency / DEMAND_SHARE);
  }

  #comeAgain(waitMs: number): void {
    const timer = new AbortController();
    this.#timer = timer;
    this.#clock.sleep(waitMs, timer.signal).then(
      () => this.#pump(),
      () => undefined, // another pump came first
    );
  }
}

/**
 * The store, with its requests passing the limiter. A listing counts as one request until its first path has come. `write` passes freely:
 * it may wait for reads of its source, which would have to wait for it.
 */
export function withLimits(store: Store, limiter: Limiter): Store {
  return {
    ...passedOn(store),
    list: (prefix, options) => limitedList(store, limiter, prefix, options),
    stat: (path, options) => limiter.run(0, 0, options?.signal, () => store.stat(path, options)),
    readInto: (object, begin, targets, options) =>
      limiter.run(options?.priority ?? 0, targetBytes(targets), options?.signal, () => store.readInto(object, begin, targets, options)),
  };
}

async function* limitedList(store: Store, limiter: Limiter, prefix: string, options: ListOptions | undefined): AsyncIterable<StoredObject> {
  const paths = store.list(prefix, options)[Symbol.asyncIterator]();
  try {
    let next = await limiter.run(0, 0, options?.signal, () => paths.next());
    for (; !next.done; next = await paths.next()) yield next.value;
  } finally {
    await paths.return?.();
  }
}

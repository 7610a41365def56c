import { abortedError } from "../errors.js";
import { type Clock, systemClock } from "../util/clock.js";
import { TokenBucket } from "../util/token-bucket.js";
import type { OriginStore } from "./origin-store.js";
import type { Pace, PacedRequest } from "./pace.js";
import { passedOn } from "./passed-on.js";
import { Priority, priorityValue, type Urgency } from "./priority.js";
import { goesBefore, type Queued, RequestQueue } from "./request-queue.js";
import type { ListOptions, ReadOptions, Store, StoredObject } from "./store.js";
import { targetBytes } from "./targets.js";

export interface Limits {
  /** Requests in flight to all stores together, at least 1. */
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

/** A request as the limiter sees it. */
export interface LimitedRequest {
  readonly priority: Urgency;
  /** That it will read. */
  readonly bytes: number;
  readonly signal: AbortSignal | undefined;
}

interface Waiter extends Queued {
  priority: number;
  readonly bytes: number;
  readonly go: () => void;
}

/** What a pause lets through at once when it ends: long enough for timers' jitter, too short to count as a burst. */
const BURST_MS = 100;
/** One place in 8, and one at least, is kept for demand, so that a loop's own read never waits for a prefetch to end. */
const DEMAND_SHARE = 8;

/** The requests of one origin: in flight as many as its pace allows. */
class Line {
  readonly pace: Pace | undefined;
  readonly queue: RequestQueue<Waiter> = new RequestQueue();
  inFlight = 0;

  constructor(pace: Pace | undefined) {
    this.pace = pace;
  }
}

/**
 * One gate for the requests of all stores, with a line for each origin: lower priority values go first, first come first served within one.
 * A request whose priority is raised while it waits moves up.
 */
export class Limiter {
  readonly #limits: { concurrency: number; readonly requestsPerSecond: number; readonly bandwidth: number };
  readonly #clock: Clock;
  readonly #requests: TokenBucket;
  readonly #bytes: TokenBucket;
  readonly #lines = new Map<Pace | undefined, Line>();
  #concurrency: number;
  #processes = 1;
  #arrivals = 0;
  #inFlight = 0;
  #timer: AbortController | undefined;

  constructor({
    concurrency,
    requestsPerSecond = Number.POSITIVE_INFINITY,
    bandwidth = Number.POSITIVE_INFINITY,
    clock = systemClock,
  }: Limits) {
    this.#limits = { concurrency, requestsPerSecond, bandwidth };
    this.#concurrency = concurrency;
    this.#clock = clock;
    this.#requests = new TokenBucket(requestsPerSecond, BURST_MS, clock.now());
    this.#bytes = new TokenBucket(bandwidth, BURST_MS, clock.now());
  }

  /** Requests in flight at most. */
  get concurrency(): number {
    return this.#concurrency;
  }

  /** From now on so many requests in flight at most, of all processes that share the limits. */
  allow(concurrency: number): void {
    this.#limits.concurrency = concurrency;
    this.#concurrency = Math.max(1, Math.floor(concurrency / this.#processes));
    this.#pump();
  }

  /** Keeps to one part of the limits, which so many processes share. What is in flight ends as it would. */
  divide(processes: number): void {
    if (processes === this.#processes) return;
    const { concurrency, requestsPerSecond, bandwidth } = this.#limits;
    const now = this.#clock.now();
    this.#processes = processes;
    this.#concurrency = Math.max(1, Math.floor(concurrency / processes));
    this.#requests.setRate(requestsPerSecond / processes, now);
    this.#bytes.setRate(bandwidth / processes, now);
    this.#pump();
  }

  stats(): LimiterStats {
    const queued = [...this.#lines.values()].reduce((sum, { queue }) => sum + queue.length, 0);
    return { inFlight: this.#inFlight, queued };
  }

  /**
   * Runs `work` when its turn has come, by the origin's pace where there is one. An abort before that takes it out of the queue.
   * `work` gets what the pace knows the request by.
   */
  async run<T>(pace: Pace | undefined, request: LimitedRequest, work: (paced: PacedRequest | undefined) => Promise<T>): Promise<T> {
    const line = this.#line(pace);
    await this.#turn(line, request);
    const paced = pace?.begin();
    let failure: unknown;
    try {
      return await work(paced);
    } catch (error) {
      failure = error;
      throw error;
    } finally {
      if (paced !== undefined) pace?.end(paced, failure);
      this.#inFlight--;
      line.inFlight--;
      this.#pump();
    }
  }

  #line(pace: Pace | undefined): Line {
    let line = this.#lines.get(pace);
    if (line === undefined) {
      line = new Line(pace);
      this.#lines.set(pace, line);
    }
    return line;
  }

  #turn(line: Line, { priority, bytes, signal }: LimitedRequest): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(abortedError(signal, "The request"));
      const leave = (): void => {
        signal?.removeEventListener("abort", onAbort);
        settle?.();
      };
      const onAbort = (): void => {
        leave();
        line.queue.remove(waiter);
        reject(abortedError(signal!, "The request"));
        this.#pump();
      };
      const go = (): void => {
        leave();
        resolve();
      };
      const waiter: Waiter = { priority: priorityValue(priority), arrival: this.#arrivals++, bytes, go };
      const settle = priority instanceof Priority ? priority.onRaise(() => this.#raise(line, waiter, priority.value)) : undefined;
      signal?.addEventListener("abort", onAbort, { once: true });
      line.queue.insert(waiter);
      this.#pump();
    });
  }

  #raise(line: Line, waiter: Waiter, to: number): void {
    if (!line.queue.remove(waiter)) return;
    waiter.priority = to;
    line.queue.insert(waiter);
    this.#pump();
  }

  /** Lets go all that may; where only time is lacking, comes again. */
  #pump(): void {
    this.#timer?.abort();
    this.#timer = undefined;
    let waitMs = 0;
    for (let line = this.#next(); line !== undefined && waitMs === 0; line = this.#next()) {
      const now = this.#clock.now();
      waitMs = Math.max(this.#requests.waitMs(now), this.#bytes.waitMs(now));
      if (waitMs === 0) this.#start(line);
    }
    // Requests that the limits of all origins hold back say nothing of this one.
    const full = waitMs > 0 || this.#inFlight >= this.#concurrency;
    for (const { pace, queue } of this.#lines.values()) {
      pace?.crowded(queue.length > 0 && !full);
      const pausedMs = queue.length > 0 ? (pace?.pausedMs ?? 0) : 0;
      if (pausedMs > 0) waitMs = waitMs === 0 ? pausedMs : Math.min(waitMs, pausedMs);
    }
    if (waitMs > 0) this.#comeAgain(waitMs);
  }

  /** The line whose head goes next, if any may. */
  #next(): Line | undefined {
    let next: Line | undefined;
    for (const line of this.#lines.values()) {
      const { head } = line.queue;
      if (head !== undefined && this.#mayGo(line, head.priority) && (next === undefined || goesBefore(head, next.queue.head!))) next = line;
    }
    return next;
  }

  #mayGo({ pace, inFlight }: Line, priority: number): boolean {
    if (this.#inFlight >= placesFor(priority, this.#concurrency)) return false;
    if (pace === undefined) return true;
    const places = priority <= 0 ? pace.demandConcurrency : placesFor(priority, pace.concurrency);
    return inFlight < places && pace.pausedMs === 0;
  }

  #start(line: Line): void {
    const { bytes, go } = line.queue.shift()!;
    this.#requests.take(1);
    this.#bytes.take(bytes);
    this.#inFlight++;
    line.inFlight++;
    go();
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

/** Where there is but one place, all take it in turn. */
function placesFor(priority: number, places: number): number {
  return priority <= 0 ? places : Math.max(1, places - Math.max(1, Math.floor(places / DEMAND_SHARE)));
}

/**
 * The store, with its requests passing the limiter at the origin's pace. A listing counts as one request until its first path has come. `write`
 * passes freely: it may wait for reads of its source, which would have to wait for it.
 */
export function withLimits(store: Store, limiter: Limiter, pace?: Pace): OriginStore {
  const { remove } = store;
  return {
    ...passedOn(store),
    list: (prefix, options) => limitedList(store, limiter, pace, prefix, options),
    stat: (path, options) => limiter.run(pace, { priority: 0, bytes: 0, signal: options?.signal }, () => store.stat(path, options)),
    ...(remove && {
      remove: (path: string, options?: { readonly signal?: AbortSignal | undefined }) =>
        limiter.run(pace, { priority: 0, bytes: 0, signal: options?.signal }, () => remove.call(store, path, options)),
    }),
    readInto: (object, begin, targets, options = {}) => {
      const { priority = 0, signal } = options;
      return limiter.run(pace, { priority, bytes: targetBytes(targets), signal }, (paced) => {
        // What may be raised is of no use to the store: its turn has come.
        const now: ReadOptions = { ...options, priority: priorityValue(priority) };
        return store.readInto(object, begin, targets, paced?.observed(now) ?? now);
      });
    },
  };
}

async function* limitedList(
  store: Store,
  limiter: Limiter,
  pace: Pace | undefined,
  prefix: string,
  options: ListOptions | undefined,
): AsyncIterable<StoredObject> {
  const paths = store.list(prefix, options)[Symbol.asyncIterator]();
  try {
    let next = await limiter.run(pace, { priority: 0, bytes: 0, signal: options?.signal }, () => paths.next());
    for (; !next.done; next = await paths.next()) yield next.value;
  } finally {
    await paths.return?.();
  }
}

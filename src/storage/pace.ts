import { isMillraceError, type MillraceError } from "../errors.js";
import { type Clock, systemClock } from "../util/clock.js";
import { ConcurrencySearch } from "./concurrency-search.js";
import type { PaceStats } from "./origin-store.js";
import type { ReadOptions, ReadProgress } from "./store.js";

export interface PaceOptions {
  /** Requests in flight at most. */
  readonly ceiling: number;
  readonly clock?: Clock | undefined;
}

const MIB = 2 ** 20;
/** Before anything is measured. */
const FIRST_SPAN_BYTES = 16 * MIB;
/** A GB in 119 requests. */
const LEAST_SPAN_BYTES = 16 * MIB;
/** What 30 ms to the first byte and 90 MB/s a connection ask for; of longer ones the first 64 MiB of read-ahead would be a single request. */
const MOST_SPAN_BYTES = 32 * MIB;
/** The body's time in units of the first byte's: that one then costs a tenth of the span's time. */
const BODY_PER_LATENCY = 9;
/** As TCP smooths round trips: most of it is from the last 16. */
const SMOOTHING = 1 / 8;
/** A body that is shorter, or faster, came with its head or out of the socket's buffer: its rate is no connection's. */
const LEAST_RATED = { bytes: 256 * 1024, ms: 2 } as const;
/** Shorter rounds measure this machine's other work, milliseconds. */
const LEAST_ROUND_MS = 100;
/** A first batch lies in about as many pieces as it has samples: fewer places would cost it a second round trip. */
const FIRST_DEMAND_PLACES = 64;
/** What a request costs beside its bytes, so that those without any count too: about its heads. */
const REQUEST_BYTES = 1024;
/** Longest pause that an answer can ask for at once, milliseconds: after it, one request finds out whether it still holds. */
const MAX_PAUSE_MS = 30_000;

/** One request, from its start to its end. */
export class PacedRequest {
  readonly startedAt: number;
  readonly #clock: Clock;
  #headAt: number | undefined;
  #progress: ReadProgress | undefined;
  #before = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.startedAt = clock.now();
  }

  /** The read's options, with this request told of its head and its bytes. */
  observed(options: ReadOptions): ReadOptions & { readonly progress: ReadProgress } {
    const progress = options.progress ?? { received: 0 };
    this.#progress = progress;
    this.#before = progress.received;
    const claim = (): boolean => {
      this.#headAt ??= this.#clock.now();
      return options.claim?.() ?? true;
    };
    return { ...options, progress, claim };
  }

  get headAt(): number | undefined {
    return this.#headAt;
  }

  /** Bytes of its body so far. */
  get received(): number {
    return this.#progress === undefined ? 0 : this.#progress.received - this.#before;
  }
}

/** A stretch of time in which every place was taken. */
interface Round {
  readonly startedAt: number;
  /** Bytes delivered before it. */
  readonly delivered: number;
  /** Requests that have ended in it. */
  ended: number;
}

/**
 * The pace of requests to one origin: how many may be in flight, how long one should be, and when to hold back. A round ends when as many requests
 * as there are places have ended, and one that began in it. Time in which places were free is no evidence.
 */
export class Pace {
  readonly #clock: Clock;
  readonly #ceiling: number;
  readonly #search: ConcurrencySearch;
  readonly #requests = new Set<PacedRequest>();
  /** Bytes of requests that have ended, and how many these were. */
  #endedBytes = 0;
  #ended = 0;
  #round: Round | undefined;
  #latencyMs: number | undefined;
  #connectionRate: number | undefined;
  #throughput: number | undefined;
  /** After SlowDown, fewer places than were found; one more with each round. */
  #cap = Number.POSITIVE_INFINITY;
  #slowedAt = Number.NEGATIVE_INFINITY;
  #pausedUntil = Number.NEGATIVE_INFINITY;
  #slowDowns = 0;
  #waiting = false;

  constructor({ ceiling, clock = systemClock }: PaceOptions) {
    this.#clock = clock;
    this.#ceiling = ceiling;
    this.#search = new ConcurrencySearch(ceiling);
  }

  /** Requests that may be in flight now, at least 1. */
  get concurrency(): number {
    return Math.min(this.#search.places, this.#cap);
  }

  /** The same for what a loop waits for: before anything is known of the origin, a first batch goes out as a whole. */
  get demandConcurrency(): number {
    const unknown = this.#throughput === undefined && this.#slowDowns === 0;
    return unknown ? Math.max(this.concurrency, Math.min(this.#ceiling, FIRST_DEMAND_PLACES)) : this.concurrency;
  }

  /** Milliseconds until the next request may start; 0 for now. */
  get pausedMs(): number {
    return Math.max(0, this.#pausedUntil - this.#clock.now());
  }

  stats(): PaceStats {
    const perSecond = (rate: number | undefined): number | undefined => rate && rate * 1000;
    return {
      concurrency: this.concurrency,
      latencyMs: this.#latencyMs,
      connectionBytesPerSecond: perSecond(this.#connectionRate),
      bytesPerSecond: perSecond(this.#throughput),
      spanBytes: this.#spanBytes(),
      slowDowns: this.#slowDowns,
      receivedBytes: this.#received(),
    };
  }

  /** Whether requests are in flight, or wait for a place. */
  get busy(): boolean {
    return this.#waiting || this.#requests.size > 0;
  }

  begin(): PacedRequest {
    const request = new PacedRequest(this.#clock);
    this.#requests.add(request);
    return request;
  }

  /** The request has ended, and with which error. */
  end(request: PacedRequest, error?: unknown): void {
    const now = this.#clock.now();
    this.#requests.delete(request);
    this.#endedBytes += request.received;
    this.#ended++;
    this.#observe(request, now, error === undefined);
    if (isSlowDown(error)) this.#slowDown(request.startedAt, error, now);
    else if (this.#round !== undefined && this.#isOver(this.#round, request, now)) this.#finish(this.#round, now);
  }

  /** A request has failed that its read does not fail of, since it was hedged. Only a SlowDown counts. */
  refused(error: unknown, startedAt: number): void {
    if (isSlowDown(error)) this.#slowDown(startedAt, error, this.#clock.now());
  }

  /** Whether a request waits for a place. Said whenever that may have changed. */
  crowded(waiting: boolean): void {
    this.#waiting = waiting;
    if (!waiting || this.pausedMs > 0) this.#round = undefined;
    // With more in flight than there are places now, those that began before must end first.
    else if (this.#round === undefined && this.#requests.size <= this.concurrency)
      this.#round = { startedAt: this.#clock.now(), delivered: this.#delivered(), ended: 0 };
  }

  /** So long that its first byte is about a tenth of its time. */
  #spanBytes(): number {
    if (this.#latencyMs === undefined || this.#connectionRate === undefined) return FIRST_SPAN_BYTES;
    const bytes = BODY_PER_LATENCY * this.#latencyMs * this.#connectionRate;
    return Math.min(MOST_SPAN_BYTES, Math.max(LEAST_SPAN_BYTES, 2 ** Math.ceil(Math.log2(bytes))));
  }

  #observe(request: PacedRequest, now: number, whole: boolean): void {
    const { headAt, received } = request;
    if (headAt === undefined) return;
    this.#latencyMs = smoothed(this.#latencyMs, headAt - request.startedAt);
    if (whole && received >= LEAST_RATED.bytes && now - headAt >= LEAST_RATED.ms)
      this.#connectionRate = smoothed(this.#connectionRate, received / (now - headAt));
  }

  #isOver(round: Round, ended: PacedRequest, now: number): boolean {
    return ++round.ended >= this.concurrency && ended.startedAt >= round.startedAt && now - round.startedAt >= LEAST_ROUND_MS;
  }

  #finish(round: Round, now: number): void {
    this.#round = undefined;
    this.#throughput = (this.#delivered() - round.delivered) / (now - round.startedAt);
    if (this.#cap === Number.POSITIVE_INFINITY) this.#search.measured(this.#throughput);
    else if (++this.#cap >= this.#search.places) this.#cap = Number.POSITIVE_INFINITY;
  }

  /** Halves the places: once for all the requests that were on their way when it was done before. */
  #slowDown(startedAt: number, error: MillraceError, now: number): void {
    this.#slowDowns++;
    this.#round = undefined;
    this.#pausedUntil = Math.max(this.#pausedUntil, now + Math.min(MAX_PAUSE_MS, error.retryAfterMs ?? 0));
    if (startedAt < this.#slowedAt) return;
    this.#slowedAt = now;
    this.#cap = Math.max(1, Math.floor(this.concurrency / 2));
    this.#search.refused();
  }

  #delivered(): number {
    return this.#received() + this.#ended * REQUEST_BYTES;
  }

  #received(): number {
    let bytes = this.#endedBytes;
    for (const request of this.#requests) bytes += request.received;
    return bytes;
  }
}

/** An answer that asks for fewer requests: it says when to come again, or would if it knew. */
function isSlowDown(error: unknown): error is MillraceError {
  return isMillraceError(error, "MILLRACE_UNAVAILABLE") && error.retryAfterMs !== undefined;
}

function smoothed(value: number | undefined, sample: number): number {
  return value === undefined ? sample : value + SMOOTHING * (sample - value);
}

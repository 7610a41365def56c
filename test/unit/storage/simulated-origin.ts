/** An origin in virtual time: requests that wait for their first byte, then share the bandwidth. Drives a Pace as a full queue would. */
import type { MillraceError } from "../../../src/errors.js";
import { Pace, type PacedRequest } from "../../../src/storage/pace.js";
import type { Clock } from "../../../src/util/clock.js";

export interface OriginShape {
  /** Time to the first byte, milliseconds; drawn anew for each request where it is a function. */
  firstByteMs: number | (() => number);
  /** Bytes a millisecond of one connection, and of all together. */
  connectionRate?: number;
  totalRate?: number;
  objectBytes: number;
  /** The error to answer with, if any; asked as a request arrives. */
  refuse?: (inFlight: number) => MillraceError | undefined;
}

interface Flight {
  readonly request: PacedRequest;
  readonly progress: { received: number };
  readonly claim: () => boolean;
  readonly headAt: number;
  readonly bytes: number;
  readonly error: MillraceError | undefined;
  headed: boolean;
}

/** Milliseconds: fine enough for first bytes of a few. */
const STEP_MS = 0.25;

export class SimulatedOrigin {
  readonly pace: Pace;
  shape: OriginShape;
  /** Requests ended, and those among them that were refused. */
  requests = 0;
  refused = 0;
  bytes = 0;
  now = 0;
  /** Whether the queue is full; else nothing is sent. */
  busy = true;
  readonly #fixed: number | undefined;
  #flights: Flight[] = [];

  /** `fixed`: so many are in flight, whatever the pace says. */
  constructor(shape: OriginShape, ceiling = 64, fixed?: number) {
    this.shape = shape;
    this.#fixed = fixed;
    const clock: Clock = { now: () => this.now, sleep: () => Promise.reject(new Error("nothing here sleeps")) };
    this.pace = new Pace({ ceiling, clock });
  }

  get inFlight(): number {
    return this.#flights.length;
  }

  /** Runs until so many more requests have ended; gives the bytes a millisecond meanwhile. */
  run(requests: number): number {
    const [since, before, until] = [this.now, this.bytes, this.requests + requests];
    while (this.requests < until) this.step();
    return (this.bytes - before) / (this.now - since);
  }

  step(): void {
    this.#send();
    this.now += STEP_MS;
    const active = this.#flights.filter((flight) => flight.headAt <= this.now);
    const { connectionRate = Number.POSITIVE_INFINITY, totalRate = Number.POSITIVE_INFINITY } = this.shape;
    const share = Math.min(connectionRate, totalRate / active.length) * STEP_MS;
    for (const flight of active) this.#deliver(flight, share);
  }

  #send(): void {
    while (this.busy && this.inFlight < (this.#fixed ?? this.pace.concurrency) && this.pace.pausedMs === 0) {
      const error = this.shape.refuse?.(this.inFlight);
      const request = this.pace.begin();
      const { progress, claim } = request.observed({});
      const { firstByteMs, objectBytes: bytes } = this.shape;
      const headAt = this.now + (typeof firstByteMs === "number" ? firstByteMs : firstByteMs());
      this.#flights.push({ request, progress, claim: claim!, headAt, bytes, error, headed: false });
    }
    this.pace.crowded(this.busy);
  }

  #deliver(flight: Flight, share: number): void {
    if (flight.error === undefined) {
      if (!flight.headed) flight.claim();
      flight.headed = true;
      const bytes = Math.min(share, flight.bytes - flight.progress.received);
      flight.progress.received += bytes;
      this.bytes += bytes;
      if (flight.progress.received < flight.bytes) return;
    } else this.refused++;
    this.#flights.splice(this.#flights.indexOf(flight), 1);
    this.requests++;
    this.pace.end(flight.request, flight.error);
    this.#send();
  }
}

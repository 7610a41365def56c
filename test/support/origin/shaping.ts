/** Latency, bandwidth and faults, all drawn from one seeded generator. */
import type { Fault, FaultFilter, RequestKind, Shape } from "./types.js";

/** mulberry32: small, fast, good enough for draws of faults. Uniform in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A timer may fire late by this much before the lost time is lost for good, milliseconds. */
const CATCH_UP_MS = 10;
/** A slice is what the bandwidth carries in this time, so that bodies flow rather than jump. */
const SLICE_MS = 5;
const MIN_SLICE_BYTES = 16 * 1024;
export const MAX_SLICE_BYTES: number = 2 ** 20;

/** A line of given bandwidth, as the time at which it is free again. */
export class Line {
  #freeAt = 0;

  /** A response that starts finds the line free now, or busy until later; idle time is not saved up. */
  open(now: number): void {
    this.#freeAt = Math.max(this.#freeAt, now);
  }

  /** When the last of these bytes arrives. */
  due(bytes: number, bytesPerSecond: number, now: number): number {
    this.#freeAt = Math.max(this.#freeAt, now - CATCH_UP_MS) + (bytes / bytesPerSecond) * 1000;
    return this.#freeAt;
  }
}

interface Planned {
  left: number;
  readonly fault: Fault;
  readonly filter: FaultFilter;
}

export class Shaper {
  #shape: Shape = {};
  #random: () => number = seededRandom(1);
  #planned: Planned[] = [];
  readonly #total = new Line();

  get shape(): Shape {
    return this.#shape;
  }

  /** Replaces the shape; draws start anew. */
  set(shape: Shape): void {
    this.#shape = shape;
    this.#random = seededRandom(shape.seed ?? 1);
  }

  failNext(count: number, fault: Fault, filter: FaultFilter): void {
    this.#planned.push({ left: count, fault, filter });
  }

  clearFaults(): void {
    this.#planned = [];
  }

  /** What is to go wrong with this request, if anything. */
  fault(kind: RequestKind, key: string): Fault | undefined {
    const planned = this.#planned.find(({ filter }) => (filter.kind ?? kind) === kind && key.startsWith(filter.prefix ?? ""));
    if (planned !== undefined) {
      if (--planned.left === 0) this.#planned = this.#planned.filter((entry) => entry !== planned);
      return planned.fault;
    }
    const { errorRate = 0, resetRate = 0, hangRate = 0, stallRate = 0, truncateRate = 0, errorStatus = 503 } = this.#shape;
    if (errorRate + resetRate + hangRate + stallRate + truncateRate === 0) return undefined;
    let draw = this.#random();
    for (const [fault, rate] of [
      [errorStatus, errorRate],
      ["reset", resetRate],
      ["hang", hangRate],
      ["stall", kind === "get" ? stallRate : 0],
      ["truncate", kind === "get" ? truncateRate : 0],
    ] as const) {
      if (draw < rate) return fault;
      draw -= rate;
    }
    return undefined;
  }

  /** Milliseconds to the first byte of the next response. */
  latency(): number {
    const first = this.#shape.firstByteMs ?? 0;
    if (typeof first === "number") return first;
    // Box and Muller: a normal deviate from two uniform ones; 1 − u keeps the logarithm finite.
    const normal = Math.sqrt(-2 * Math.log(1 - this.#random())) * Math.cos(2 * Math.PI * this.#random());
    return first.median * Math.exp(first.sigma * normal);
  }

  get paced(): boolean {
    return this.#shape.connectionBytesPerSecond !== undefined || this.#shape.totalBytesPerSecond !== undefined;
  }

  get sliceBytes(): number {
    const rate = Math.min(this.#shape.connectionBytesPerSecond ?? Infinity, this.#shape.totalBytesPerSecond ?? Infinity);
    return Math.max(MIN_SLICE_BYTES, Math.min(MAX_SLICE_BYTES, Math.floor((rate * SLICE_MS) / 1000)));
  }

  /** Milliseconds to wait before a slice goes out on this connection's line. */
  delay(connection: Line, bytes: number, now: number): number {
    const { connectionBytesPerSecond, totalBytesPerSecond } = this.#shape;
    let due = now;
    if (connectionBytesPerSecond !== undefined) due = Math.max(due, connection.due(bytes, connectionBytesPerSecond, now));
    if (totalBytesPerSecond !== undefined) due = Math.max(due, this.#total.due(bytes, totalBytesPerSecond, now));
    return due - now;
  }
}

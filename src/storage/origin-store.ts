/** A store as the engine reads it: behind limits, at a pace, with reads that may become more urgent while they wait. */
import type { Urgency } from "./priority.js";
import type { ReadOptions, Store, StoredObject } from "./store.js";

/** What has been measured of an origin, and what follows from it. */
export interface PaceStats {
  /** Requests that may be in flight now. */
  readonly concurrency: number;
  /** Time to the first byte, milliseconds, smoothed; undefined before the first. */
  readonly latencyMs: number | undefined;
  /** Bytes a second of one connection's body, smoothed; undefined before the first body that was long enough. */
  readonly connectionBytesPerSecond: number | undefined;
  /** Bytes a second of all requests together, in the last round that used every place; undefined before the first. */
  readonly bytesPerSecond: number | undefined;
  /** What one request should read at most: 16 or 32 MiB. */
  readonly spanBytes: number;
  /** Answers that asked for fewer requests. */
  readonly slowDowns: number;
  /** Bytes that have come, of requests under way too. */
  readonly receivedBytes: number;
}

export interface OriginReadOptions extends Omit<ReadOptions, "priority"> {
  /** For the limiter, which hands on a number. */
  readonly priority?: Urgency | undefined;
}

export interface OriginStore extends Store {
  readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], options?: OriginReadOptions): Promise<void>;
  /** What has been measured; undefined where nothing measures. */
  pace?(): PaceStats;
}

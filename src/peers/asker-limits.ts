/** How much each asker, and all together, may have under way. Who asks for more is told so at once: nothing queues. */
import type { Clock } from "../util/clock.js";
import { TokenBucket } from "../util/token-bucket.js";

export interface ServingLimits {
  /** Requests of one asker under way. Twice what one asks for at once, since it may have given some up. */
  readonly perAsker: number;
  /** Requests of one asker a second. */
  readonly perSecond: number;
  /** Bytes of answers under way, to all askers: they may all have to be fetched first. */
  readonly bytes: number;
}

export const SERVING_LIMITS: ServingLimits = { perAsker: 16, perSecond: 10_000, bytes: 512 * 2 ** 20 };
/** Part of the memory limit that answers under way may take, and the least of it: eight answers of 8 MiB. */
const MEMORY_SHARE = 1 / 16;
const LEAST_BYTES = 64 * 2 ** 20;
/** Saved up by an asker that rests, milliseconds. */
const BURST_MS = 1000;
/** Askers remembered; those that rest go first. */
const MAX_ASKERS = 8192;

interface Asker {
  readonly rate: TokenBucket;
  underWay: number;
}

/** Bytes of answers under way that a process with so much memory bears. */
export function servingBytes(memoryLimit: number): number {
  return Math.min(SERVING_LIMITS.bytes, Math.max(LEAST_BYTES, Math.floor(memoryLimit * MEMORY_SHARE)));
}

export class AskerLimits {
  readonly #limits: ServingLimits;
  readonly #clock: Clock;
  readonly #askers = new Map<string, Asker>();
  #bytes = 0;
  #requests = 0;

  constructor(limits: ServingLimits, clock: Clock) {
    this.#limits = limits;
    this.#clock = clock;
  }

  /** Requests under way. */
  get requests(): number {
    return this.#requests;
  }

  /** What ends the request's account, to be called once; undefined where it would be too much. One request may always go. */
  enter(id: string, bytes: number): (() => void) | undefined {
    const asker = this.#asker(id);
    const { perAsker, bytes: most } = this.#limits;
    const full = this.#bytes > 0 && this.#bytes + bytes > most;
    if (full || asker.underWay >= perAsker || asker.rate.waitMs(this.#clock.now()) > 0) return undefined;
    asker.rate.take(1);
    this.#add(asker, 1, bytes);
    return () => this.#add(asker, -1, -bytes);
  }

  #add(asker: Asker, requests: number, bytes: number): void {
    asker.underWay += requests;
    this.#requests += requests;
    this.#bytes += bytes;
  }

  #asker(id: string): Asker {
    const known = this.#askers.get(id);
    if (known !== undefined) return known;
    if (this.#askers.size >= MAX_ASKERS) for (const [other, { underWay }] of this.#askers) if (underWay === 0) this.#askers.delete(other);
    const asker = { rate: new TokenBucket(this.#limits.perSecond, BURST_MS, this.#clock.now()), underWay: 0 };
    this.#askers.set(id, asker);
    return asker;
  }
}

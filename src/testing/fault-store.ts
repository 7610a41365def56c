import { MillraceError, throwIfAborted } from "../errors.js";
import type { ListOptions, ReadOptions, Store, StoredObject, WriteOptions } from "../storage/store.js";
import { targetBytes } from "../storage/targets.js";
import { systemClock } from "../util/clock.js";

/** What goes wrong, as rates in [0, 1] of the calls; all default to 0. */
export interface Faults {
  /** Calls that throw MILLRACE_UNAVAILABLE at once; listings after some of their paths. */
  readonly errorRate?: number | undefined;
  /** Reads that end in MILLRACE_UNAVAILABLE after a part of their bytes. */
  readonly truncateRate?: number | undefined;
  /** Reads that wait for `stallMs` after a part of their bytes, and then end in MILLRACE_TIMEOUT. */
  readonly stallRate?: number | undefined;
  /** Default 1000. */
  readonly stallMs?: number | undefined;
  /** Reads and stats that find another version: MILLRACE_CHANGED, or an etag of their own. */
  readonly changedRate?: number | undefined;
  /** Added before every call, milliseconds. */
  readonly latencyMs?: number | undefined;
  /** Of the draws. Default 1. */
  readonly seed?: number | undefined;
}

/** A store that fails on purpose: the same faults in the same order for the same seed and the same calls. */
export class FaultStore implements Store {
  readonly uri: string;
  readonly #store: Store;
  #faults: Faults;
  #state: number;
  /** Faults injected so far. */
  injected = 0;

  constructor(store: Store, faults: Faults) {
    this.uri = store.uri;
    this.#store = store;
    this.#faults = faults;
    this.#state = faults.seed ?? 1;
  }

  /** From now on these faults; the draws go on. */
  set(faults: Faults): void {
    this.#faults = faults;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncIterable<StoredObject> {
    await this.#delay(options.signal);
    // Anywhere in the first thousand, so that some listings fail in the middle.
    let left = this.#hits(this.#faults.errorRate) ? Math.floor(this.#random() * 1000) : Number.POSITIVE_INFINITY;
    for await (const stored of this.#store.list(prefix, options)) {
      if (left-- <= 0) throw this.#unavailable(prefix);
      yield stored;
    }
    if (left !== Number.POSITIVE_INFINITY) throw this.#unavailable(prefix);
  }

  async stat(path: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<StoredObject> {
    await this.#delay(options.signal);
    if (this.#hits(this.#faults.errorRate)) throw this.#unavailable(path);
    const stored = await this.#store.stat(path, options);
    if (!this.#hits(this.#faults.changedRate)) return stored;
    this.injected++;
    return { ...stored, etag: `"changed-${this.injected}"` };
  }

  async readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], options: ReadOptions = {}): Promise<void> {
    await this.#delay(options.signal);
    const { errorRate, truncateRate, stallRate, stallMs = 1000, changedRate } = this.#faults;
    if (this.#hits(errorRate)) throw this.#unavailable(object.path);
    if (this.#hits(changedRate)) throw this.#fault("MILLRACE_CHANGED", object.path, "has changed");
    const truncated = this.#hits(truncateRate);
    const stalled = !truncated && this.#hits(stallRate);
    if (!truncated && !stalled) return this.#store.readInto(object, begin, targets, options);
    await this.#store.readInto(object, begin, this.#part(targets), options);
    if (truncated) throw this.#fault("MILLRACE_UNAVAILABLE", object.path, "ended early");
    await systemClock.sleep(stallMs, options.signal);
    throw this.#fault("MILLRACE_TIMEOUT", object.path, "stalled");
  }

  async write(path: string, parts: AsyncIterable<Uint8Array>, options: WriteOptions = {}): Promise<StoredObject> {
    await this.#delay(options.signal);
    if (this.#hits(this.#faults.errorRate)) throw this.#unavailable(path);
    if (this.#store.write === undefined) throw new MillraceError("MILLRACE_CONFIG", `${this.uri}: this store cannot write`);
    return this.#store.write(path, parts, options);
  }

  async remove(path: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    await this.#delay(options.signal);
    if (this.#hits(this.#faults.errorRate)) throw this.#unavailable(path);
    if (this.#store.remove === undefined) throw new MillraceError("MILLRACE_CONFIG", `${this.uri}: this store cannot remove`);
    await this.#store.remove(path, options);
  }

  async close(): Promise<void> {
    await this.#store.close?.();
  }

  /** A first part of the targets, of any length but the whole. */
  #part(targets: readonly Uint8Array[]): Uint8Array[] {
    let left = Math.floor(this.#random() * targetBytes(targets));
    return targets.map((target) => {
      const part = target.subarray(0, left);
      left -= part.length;
      return part;
    });
  }

  async #delay(signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal, "The request");
    if (this.#faults.latencyMs !== undefined) await systemClock.sleep(this.#faults.latencyMs, signal);
  }

  #hits(rate: number | undefined): boolean {
    return rate !== undefined && rate > 0 && this.#random() < rate;
  }

  /** mulberry32: 32 bits of state are enough for a test's draws. */
  #random(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  #unavailable(path: string): MillraceError {
    return this.#fault("MILLRACE_UNAVAILABLE", path, "is unavailable");
  }

  #fault(code: MillraceError["code"], path: string, what: string): MillraceError {
    this.injected++;
    const uri = `${this.uri}/${path}`;
    return new MillraceError(code, `${uri}: ${what} (injected fault)`, { uri });
  }
}

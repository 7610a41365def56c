/** A store whose bytes are a function of path and offset, that counts what is asked of it and can be held, failed and aborted. */
import { type HoldRules, type ObjectVersion, objectVersion } from "../../../src/blocks/object-version.js";
import { abortedError, MillraceError } from "../../../src/errors.js";
import type { OriginReadOptions } from "../../../src/storage/origin-store.js";
import { priorityValue } from "../../../src/storage/priority.js";
import type { Store, StoredObject } from "../../../src/storage/store.js";
import { deferred } from "../../../src/util/deferred.js";
import { unlessAborted } from "../../../src/util/unless-aborted.js";

export const PIN: HoldRules = { mount: "/pin", admission: "pin", share: 1 };
export const LRU_RULES: HoldRules = { mount: "/lru", admission: "lru", share: 1 };

/** The byte at an offset: differs between neighbours, blocks and objects. */
function byteAt(seed: number, offset: number): number {
  return (offset * 31 + (offset >>> 8) * 7 + (offset >>> 16) * 131 + seed * 17) & 255;
}

export function bytesOf(seed: number, begin: number, end: number): Uint8Array {
  const bytes = new Uint8Array(end - begin);
  for (let i = 0; i < bytes.length; i++) bytes[i] = byteAt(seed, begin + i);
  return bytes;
}

export class FakeStore implements Store {
  readonly uri = "fake://store";
  readonly ranges: { path: string; begin: number; end: number; priority: number | undefined }[] = [];
  requests = 0;
  bytes = 0;
  aborted = 0;
  inFlight = 0;
  /** Errors for the next reads. */
  readonly failures: Error[] = [];
  #gate: ReturnType<typeof deferred<void>> | undefined;

  /** Holds every read until `open`. */
  shut(): void {
    this.#gate ??= deferred<void>();
  }

  open(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  seed(path: string): number {
    return [...path].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) & 0xffff, 7);
  }

  object(path: string, size: number, rules: HoldRules = PIN, etag = "1"): ObjectVersion {
    return objectVersion(this, { path, size, etag, lastModified: undefined }, rules);
  }

  async *list(): AsyncIterable<StoredObject> {}

  async stat(path: string): Promise<StoredObject> {
    throw new MillraceError("MILLRACE_NOT_FOUND", `${path} is not there`);
  }

  async readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], options: OriginReadOptions = {}): Promise<void> {
    const length = targets.reduce((sum, target) => sum + target.length, 0);
    this.requests++;
    this.inFlight++;
    this.ranges.push({ path: object.path, begin, end: begin + length, priority: options.priority && priorityValue(options.priority) });
    try {
      await this.#wait(options.signal);
      const failure = this.failures.shift();
      if (failure !== undefined) throw failure;
      let at = begin;
      for (const target of targets) {
        target.set(bytesOf(this.seed(object.path), at, at + target.length));
        at += target.length;
      }
      this.bytes += length;
    } finally {
      this.inFlight--;
    }
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    const gate = this.#gate;
    if (signal?.aborted) throw abortedError(signal);
    if (gate === undefined) return new Promise((resolve) => setImmediate(resolve));
    await opened(gate.promise, signal, () => this.aborted++);
  }
}

/** Waits for the gate; a signal that fires first is counted, and MILLRACE_ABORTED. */
export async function opened(gate: Promise<void>, signal: AbortSignal | undefined, onAbort: () => void): Promise<void> {
  try {
    await unlessAborted(gate, signal, "The request");
  } catch (error) {
    onAbort();
    throw error;
  }
}

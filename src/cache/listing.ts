import { throwIfAborted } from "../errors.js";
import type { Store, StoredObject } from "../storage/store.js";

/** Rough memory of one object's facts: the object, its strings' headers, a Date. */
const OBJECT_BYTES = 160;

/** A complete listing. */
export interface ListResult {
  readonly objects: readonly StoredObject[];
  readonly bytes: number;
}

/** Memory that what is known of one object takes, roughly. */
export function objectBytes(object: StoredObject): number {
  return OBJECT_BYTES + object.path.length + object.etag.length;
}

/**
 * One walk over a store's listing, read by several at once: it goes on when one of them needs the next object, keeps what it has seen as long
 * as it fits `maxBytes`, and ends when all have left.
 */
export class Listing {
  readonly #controller = new AbortController();
  readonly #source: AsyncIterator<StoredObject>;
  readonly #maxBytes: number;
  readonly #onComplete: (result: ListResult) => void;
  readonly #readers = new Set<{ position: number }>();
  #objects: StoredObject[] = [];
  /** Number of the first object still kept. */
  #base = 0;
  #bytes = 0;
  #ended = false;
  #step: Promise<void> | undefined;

  constructor(store: Store, prefix: string, maxBytes: number, onComplete: (result: ListResult) => void) {
    this.#source = store.list(prefix, { signal: this.#controller.signal })[Symbol.asyncIterator]();
    this.#maxBytes = maxBytes;
    this.#onComplete = onComplete;
  }

  /** False where its first objects were let go for want of memory, or it has failed: walk anew. */
  get joinable(): boolean {
    return this.#base === 0 && this.#bytes <= this.#maxBytes && !this.#controller.signal.aborted;
  }

  /** True where nobody reads it now. */
  get unread(): boolean {
    return this.#readers.size === 0;
  }

  async *read(signal: AbortSignal | undefined): AsyncGenerator<StoredObject> {
    const reader = { position: 0 };
    this.#readers.add(reader);
    let wake = (): void => {};
    const onAbort = (): void => wake();
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      for (;;) {
        throwIfAborted(signal, "The listing");
        const object = this.#objects[reader.position - this.#base];
        if (object !== undefined) {
          reader.position++;
          yield object;
        } else if (this.#ended) return;
        else
          await new Promise<void>((resolve, reject) => {
            wake = resolve;
            this.#advance().then(resolve, reject);
          });
      }
    } finally {
      signal?.removeEventListener("abort", onAbort);
      this.#readers.delete(reader);
      if (this.#readers.size === 0 && !this.#ended) this.#stop();
    }
  }

  #advance(): Promise<void> {
    this.#step ??= this.#next().finally(() => {
      this.#step = undefined;
    });
    return this.#step;
  }

  async #next(): Promise<void> {
    try {
      const next = await this.#source.next();
      if (next.done === true) {
        this.#ended = true;
        if (this.#base === 0 && this.#bytes <= this.#maxBytes) this.#onComplete({ objects: this.#objects, bytes: this.#bytes });
        return;
      }
      this.#objects.push(next.value);
      this.#bytes += objectBytes(next.value);
      if (this.#bytes > this.#maxBytes) this.#trim();
    } catch (error) {
      this.#controller.abort();
      throw error;
    }
  }

  /** Too much to keep: lets go what every reader has passed. */
  #trim(): void {
    let passed = Number.POSITIVE_INFINITY;
    for (const reader of this.#readers) passed = Math.min(passed, reader.position);
    // In steps, so that each object is not moved for every one let go.
    if (passed - this.#base < 1024) return;
    this.#objects = this.#objects.slice(passed - this.#base);
    this.#base = passed;
  }

  #stop(): void {
    this.#controller.abort();
    this.#step?.catch(() => {});
    void this.#source.return?.()?.catch(() => {});
  }
}

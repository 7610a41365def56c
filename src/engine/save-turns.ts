import { deferred } from "../util/deferred.js";

/** A save's place among those of one name. */
export interface Turn {
  readonly name: string;
  /** Grows from turn to turn, of whatever name. */
  readonly number: number;
  /** When it was taken, since 1970; never before those that were taken earlier. */
  readonly takenMs: number;
  /** Those before it have ended. */
  readonly ready: Promise<void>;
  end(): void;
}

/** Saves to one name, one after the other in the order in which they were asked for. */
export class Turns {
  readonly #last = new Map<string, Promise<void>>();
  #number = 0;
  #lastMs = 0;

  take(name: string): Turn {
    const ready = this.#last.get(name) ?? Promise.resolve();
    const ended = deferred<void>();
    // A turn that ends early, without having been ready, does not let the next go before its time.
    const over = Promise.all([ready, ended.promise]).then(() => {
      if (this.#last.get(name) === over) this.#last.delete(name);
    });
    this.#last.set(name, over);
    this.#lastMs = Math.max(this.#lastMs, Date.now());
    return { name, number: this.#number++, takenMs: this.#lastMs, ready, end: ended.resolve };
  }
}

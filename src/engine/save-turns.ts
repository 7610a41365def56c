import pLimit, { type LimitFunction } from "p-limit";
import { deferred } from "../util/deferred.js";
import { unlessAborted } from "../util/unless-aborted.js";

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
  readonly #entrances = new Map<string, LimitFunction>();
  #number = 0;
  #lastMs = 0;

  /**
   * Takes a turn in the order of the calls, whatever it takes to find out what their paths mean: to open the store of their `root`, which may take for
   * ever, and is waited for by those of that root alone. Throws what `find` throws, and when the signal fires; that turn has ended then.
   */
  async enter<T>(root: string, find: () => Promise<T>, name: (found: T) => string, signal: AbortSignal): Promise<{ found: T; turn: Turn }> {
    const entrance = this.#entrances.get(root) ?? pLimit(1);
    this.#entrances.set(root, entrance);
    const entering = entrance(async () => {
      const found = await find();
      return { found, turn: this.take(name(found)) };
    });
    try {
      return await unlessAborted(entering, signal, "The save");
    } catch (error) {
      entering.then(
        ({ turn }) => turn.end(),
        () => {},
      );
      throw error;
    }
  }

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

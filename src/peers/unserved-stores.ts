import type { Clock } from "../util/clock.js";
import type { PeerFault } from "./peer-answers.js";

/**
 * A peer that does not serve a store is not asked for its objects for that long, milliseconds: a mount comes with a restart, but a root that is
 * opened by its URI may be opened there a moment later than here.
 */
const NOT_ITS_OWN_MS = 1_000;
/** A peer that could not get the bytes so often in a row does not reach the store's origin, and is given that long to find back, milliseconds. */
const FAILURES = 3;
const FAILED_MS = 60_000;

/** Stores that a sound peer gives nothing of. */
export class UnservedStores {
  readonly #clock: Clock;
  readonly #until = new Map<string, number>();
  readonly #failures = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(store: string): boolean {
    return (this.#until.get(store) ?? Number.NEGATIVE_INFINITY) > this.#clock.now();
  }

  served(store: string): void {
    this.#failures.delete(store);
  }

  failed(store: string, { notItsOwn }: PeerFault): void {
    const failures = (this.#failures.get(store) ?? 0) + 1;
    this.#failures.set(store, failures);
    if (notItsOwn) this.#until.set(store, this.#clock.now() + NOT_ITS_OWN_MS);
    else if (failures >= FAILURES) this.#until.set(store, this.#clock.now() + FAILED_MS);
  }
}

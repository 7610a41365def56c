import { isMillraceError } from "../errors.js";
import type { Clock } from "../util/clock.js";

/** How long peers are turned away before one of their reads is tried again, milliseconds: one of them waits for all retries. */
const PAUSE_MS = 10_000;

/**
 * Stores whose origin this node does not reach: once a fetch for a peer has failed for that reason, peers are told so at once, or each of their
 * reads would wait for all retries, though they may reach it themselves.
 */
export class UnreachableOrigins {
  readonly #clock: Clock;
  /** When to try again. */
  readonly #until = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** True where it is worth trying; after a pause for whoever asks first. */
  mayTry(store: string): boolean {
    const until = this.#until.get(store);
    if (until === undefined) return true;
    if (this.#clock.now() < until) return false;
    this.#pause(store);
    return true;
  }

  reached(store: string): void {
    this.#until.delete(store);
  }

  failed(store: string, error: unknown): void {
    if (isMillraceError(error, "MILLRACE_UNAVAILABLE") || isMillraceError(error, "MILLRACE_TIMEOUT")) this.#pause(store);
  }

  #pause(store: string): void {
    this.#until.set(store, this.#clock.now() + PAUSE_MS);
  }
}

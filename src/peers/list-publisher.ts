/** Tells a list of members on when it has changed. */
import type { CacheLog } from "../cache/disk-tier.js";
import type { Clock } from "../util/clock.js";
import type { Member } from "./member.js";

/** While handshakes run, a new list at most so often: each one moves ownership. */
const EVERY_MS = 100;

export interface ListPublisherParts {
  readonly list: () => readonly Member[];
  /** Where it throws, the list before is the one in use: that is logged. */
  readonly changed: (members: readonly Member[]) => void;
  readonly log: CacheLog | undefined;
  readonly clock: Clock;
  /** Nothing is told any more once it has fired. */
  readonly signal: AbortSignal;
}

export class ListPublisher {
  readonly #parts: ListPublisherParts;
  #due = false;
  #told = "";

  constructor(parts: ListPublisherParts) {
    this.#parts = parts;
  }

  /** Within a tenth of a second, with whatever else changes until then. */
  soon(): void {
    if (this.#due) return;
    this.#due = true;
    const due = () => {
      this.#due = false;
      this.now();
    };
    this.#parts.clock.sleep(EVERY_MS, this.#parts.signal).then(due, () => {});
  }

  /** Each list once, also one that could not be used. */
  now(): void {
    const { list, changed, log, signal } = this.#parts;
    if (signal.aborted) return;
    const members = list();
    const text = JSON.stringify(members);
    if (text === this.#told) return;
    this.#told = text;
    try {
      changed(members);
    } catch (error) {
      log?.("error", { error: (error as Error).message, members: members.length }, "A list of peers cannot be used: the one before stays");
    }
  }
}

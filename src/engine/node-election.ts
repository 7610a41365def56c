/** Which process of a node acts for it: the one that holds a lock in the node's cache directory. Another takes over when it is gone. */
import type { CacheLog } from "../cache/disk-tier.js";
import type { FileLock } from "../cache/file-lock.js";
import { type Clock, idleClock } from "../util/clock.js";

/** What a node without its process costs until another has noticed; a look is one file-system call. */
const LOOK_EVERY_MS = 1_000;

export interface ElectionParts {
  readonly lock: Pick<FileLock, "tryTake" | "kept" | "drop">;
  /** Takes up the part of the elected process, or of another. Where it throws, the part before goes on. */
  readonly enter: (elected: boolean) => Promise<void>;
  readonly log: CacheLog;
  readonly clock?: Clock | undefined;
}

export class Election {
  readonly #parts: ElectionParts;
  readonly #closing = new AbortController();
  #elected = false;
  #loop: Promise<void> | undefined;

  constructor(parts: ElectionParts) {
    this.#parts = parts;
  }

  /** True where it is this process. */
  get elected(): boolean {
    return this.#elected;
  }

  /** Takes up a part, and from then on the one that falls to it. Throws what `enter` throws. */
  async open(): Promise<void> {
    const { lock, enter } = this.#parts;
    // Where no lock can be made, no other process has one.
    this.#elected = await lock.tryTake().catch(() => true);
    try {
      await enter(this.#elected);
    } catch (error) {
      await lock.drop();
      throw error;
    }
    this.#loop = this.#watch();
  }

  /** `leave` ends the part, before another process can be elected. */
  async close(leave: () => Promise<void>): Promise<void> {
    this.#closing.abort();
    await this.#loop;
    try {
      await leave();
    } finally {
      if (this.#elected) await this.#parts.lock.drop();
    }
  }

  async #watch(): Promise<void> {
    const { clock = idleClock } = this.#parts;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await clock.sleep(LOOK_EVERY_MS, signal).then(
        () => this.#look(),
        () => undefined,
      );
    }
  }

  async #look(): Promise<void> {
    const { lock, enter, log } = this.#parts;
    const elected = await (this.#elected ? lock.kept() : lock.tryTake()).catch(() => this.#elected);
    if (elected === this.#elected) return;
    try {
      await enter(elected);
      this.#elected = elected;
      log("info", {}, elected ? "This process listens for peers now" : "Another process of this node listens for peers now");
    } catch (error) {
      // The address may still be taken by one that stands still: the next look tries again.
      log("warn", { error: (error as Error).message }, "This process was to listen for peers, and cannot");
      await lock.drop();
    }
  }
}

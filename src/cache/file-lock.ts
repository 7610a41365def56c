/**
 * A lock that is a file made with O_EXCL: Node has no flock. It keeps the ledger tidy and nothing more: cached bytes are right without it,
 * because files appear by rename and are checked when read.
 */
import { link, readFile, rename, stat, utimes, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { DiskCounters } from "./disk-counters.js";
import { errorCode, removeFile } from "./file-io.js";
import { isGone, type ProcessIdentity, parseIdentity } from "./process-identity.js";

/** A holder needs milliseconds and touches the file every second: one that has not for 10 s stands still or is gone. */
const STALE_MS = 10_000;
const HEARTBEAT_MS = 1_000;
/** Longer than the time after which a lock is taken over: whoever waits gets it, or something else is wrong. */
const WAIT_MS = 15_000;
const POLL_MS = 5;

export class FileLock {
  readonly #path: string;
  readonly #me: ProcessIdentity;
  readonly #counters: DiskCounters;

  constructor(path: string, me: ProcessIdentity, counters: DiskCounters) {
    this.#path = path;
    this.#me = me;
    this.#counters = counters;
  }

  /** Runs `work` under the lock; undefined where it could not be had in time. Throws what the file system throws. */
  async hold<T>(work: () => Promise<T>): Promise<T | undefined> {
    if (!(await this.#take())) {
      this.#counters.lockTimeouts++;
      return undefined;
    }
    const heartbeat = setInterval(() => void this.#touch(), HEARTBEAT_MS);
    try {
      return await work();
    } finally {
      clearInterval(heartbeat);
      await this.#drop();
    }
  }

  async #take(): Promise<boolean> {
    const deadline = Date.now() + WAIT_MS;
    while (Date.now() < deadline) {
      try {
        await writeFile(this.#path, JSON.stringify(this.#me), { flag: "wx" });
        return true;
      } catch (error) {
        if (errorCode(error) !== "EEXIST") throw error;
      }
      if (!(await this.#takeOver())) await sleep(POLL_MS * (0.5 + Math.random()));
    }
    return false;
  }

  /** Moves a dead holder's lock away. True where the next try may find the place free. */
  async #takeOver(): Promise<boolean> {
    const judged = await readFile(this.#path, "utf8").catch(() => undefined);
    if (judged === undefined) return true;
    const holder = parseIdentity(judged);
    const touched = await stat(this.#path).then(
      (facts) => facts.mtimeMs,
      () => Date.now(),
    );
    // A holder that died between making the file and writing into it leaves it empty: then only its age tells.
    if (!(holder !== undefined && isGone(holder, this.#me)) && Date.now() - touched < STALE_MS) return false;
    const aside = `${this.#path}.${this.#me.instance}`;
    try {
      await rename(this.#path, aside);
      // Another waiter may have been quicker, and this be its new lock: give it back.
      if ((await readFile(aside, "utf8")) !== judged) await link(aside, this.#path);
      else this.#counters.lockTakeovers++;
    } catch {
      return true;
    } finally {
      await removeFile(aside).catch(() => false);
    }
    return true;
  }

  async #touch(): Promise<void> {
    const now = new Date();
    await utimes(this.#path, now, now).catch(() => {});
  }

  async #drop(): Promise<void> {
    const held = await readFile(this.#path, "utf8").catch(() => "");
    if (held === JSON.stringify(this.#me)) await removeFile(this.#path).catch(() => false);
  }
}

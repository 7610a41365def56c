/**
 * A lock that is a file made with O_EXCL: Node has no flock. It saves work and keeps the ledger tidy, and nothing more: cached bytes are right
 * without it, because files appear by rename and are checked when read.
 */
import { randomUUID } from "node:crypto";
import { link, readFile, rename, stat, utimes, writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import type { DiskCounters } from "./disk-counters.js";
import { errorCode, removeFile } from "./file-io.js";
import { isGone, isRunning, type ProcessIdentity, parseIdentity } from "./process-identity.js";

export interface LockTimes {
  /** A holder that is seen to have been stopped (SIGSTOP) is passed over when it has not touched the file for so long. */
  readonly stoppedMs: number;
  /** A holder that has not touched the file for so long stands still or is gone: its lock is taken over. */
  readonly staleMs: number;
  /** How often a holder touches it. */
  readonly heartbeatMs: number;
}

/** A holder that is seen to run, by a waiter of the same machine, is late and no more: a busy machine may keep it from its heartbeat. */
const RUNNING_STALE_MS = 5_000;
/** A loop may wait for the lock: a holder that stands still costs it this, and one that was only late costs a little order. */
export const QUICK: LockTimes = { stoppedMs: 600, staleMs: 1_500, heartbeatMs: 300 };
/** Nobody waits for the lock, and to take it over from one that was only late costs more than to wait. */
export const PATIENT: LockTimes = { stoppedMs: 10_000, staleMs: 10_000, heartbeatMs: 1_000 };
/** Far longer than the time after which a lock is taken over: whoever waits gets it, or something else is wrong. */
const WAIT_MS = 15_000;
const POLL_MS = 5;

export type LockCounters = Pick<DiskCounters, "lockTakeovers" | "lockTimeouts">;

/** Errors of file systems that have no hard links. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"]);

export class FileLock {
  readonly #path: string;
  readonly #temp: () => string;
  readonly #me: ProcessIdentity;
  readonly #counters: LockCounters;
  readonly #times: LockTimes;
  #heartbeat: NodeJS.Timeout | undefined;

  /** `temp`: a name of nobody else's, in the same file system. Default: beside the lock. */
  constructor(path: string, me: ProcessIdentity, counters: LockCounters, times: LockTimes = QUICK, temp?: () => string) {
    this.#path = path;
    this.#temp = temp ?? (() => `${path}.${randomUUID()}`);
    this.#me = me;
    this.#counters = counters;
    this.#times = times;
  }

  /** Runs `work` under the lock; undefined where it could not be had in time. Throws what the file system throws. */
  async hold<T>(work: () => Promise<T>): Promise<T | undefined> {
    const deadline = Date.now() + WAIT_MS;
    while (!(await this.tryTake())) {
      if (Date.now() >= deadline) {
        this.#counters.lockTimeouts++;
        return undefined;
      }
      await sleep(POLL_MS * (0.5 + Math.random()));
    }
    try {
      return await work();
    } finally {
      await this.drop();
    }
  }

  /** Takes it where it is free, or its holder dead or standing still; it is held until `drop`. Throws what the file system throws. */
  async tryTake(): Promise<boolean> {
    if (!(await this.#make()) && !((await this.#takeOver()) && (await this.#make()))) return false;
    this.#heartbeat = setInterval(() => void this.#touch(), this.#times.heartbeatMs).unref();
    return true;
  }

  /**
   * Takes it as soon as its holder proves to be gone or to stand still; it is held until `drop`. False where the holder is seen to touch it, or is
   * not to be passed over in any time that is worth waiting. Throws what the file system throws, and when the signal fires.
   */
  async takeFromGone(signal: AbortSignal): Promise<boolean> {
    let touched: number | undefined;
    for (const deadline = Date.now() + WAIT_MS; Date.now() < deadline; ) {
      if (await this.tryTake()) return true;
      const now = await stat(this.#path).then(
        (facts) => facts.mtimeMs,
        () => undefined,
      );
      touched ??= now;
      if (now !== touched) return false;
      await sleep(this.#times.heartbeatMs, undefined, { signal });
    }
    return false;
  }

  /** False once another has taken it over, which happens to a process that stood still. */
  async kept(): Promise<boolean> {
    try {
      return (await readFile(this.#path, "utf8")) === JSON.stringify(this.#me);
    } catch (error) {
      if (errorCode(error) === "ENOENT") return false;
      throw error;
    }
  }

  /** Gives it up, if it is still held. */
  async drop(): Promise<void> {
    clearInterval(this.#heartbeat);
    if (await this.kept().catch(() => false)) await removeFile(this.#path).catch(() => false);
  }

  /** It gets its name when it says whose it is: of a process that is killed in between nothing is left that only its age would tell. */
  async #make(): Promise<boolean> {
    const temp = this.#temp();
    const text = JSON.stringify(this.#me);
    try {
      await writeFile(temp, text, { flag: "wx" });
      await link(temp, this.#path).catch((error) => {
        if (!NO_LINKS.has(errorCode(error))) throw error;
        return writeFile(this.#path, text, { flag: "wx" });
      });
      return true;
    } catch (error) {
      if (errorCode(error) !== "EEXIST") throw error;
      return false;
    } finally {
      await removeFile(temp).catch(() => false);
    }
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
    // Without hard links a holder that died between making the file and writing into it leaves it empty: then only its age tells.
    const gone = holder !== undefined && isGone(holder, this.#me);
    const late = Date.now() - touched;
    if (!gone && (late < this.#times.stoppedMs || late < (await this.#patienceWith(holder)))) return false;
    const aside = this.#temp();
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

  /** How long a holder that is not known to be gone may be silent. */
  async #patienceWith(holder: ProcessIdentity | undefined): Promise<number> {
    const running = holder && (await isRunning(holder, this.#me));
    if (running === undefined) return this.#times.staleMs;
    return running ? Math.max(RUNNING_STALE_MS, this.#times.staleMs) : this.#times.stoppedMs;
  }

  async #touch(): Promise<void> {
    const now = new Date();
    await utimes(this.#path, now, now).catch(() => {});
  }
}

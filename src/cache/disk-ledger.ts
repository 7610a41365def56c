/**
 * How several processes keep one directory within its capacity. The ledger holds the bytes known to be used and what each process has been
 * granted beyond them; used + grants never exceed the capacity. A process writes within its grant without asking, and settles now and then.
 * One that died counts as having used all of its grant, until a scan by a process that is alone finds the truth.
 */
import { randomUUID } from "node:crypto";
import { readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DiskCounters } from "./disk-counters.js";
import { errorCode, removeFile, writeFileAtomically } from "./file-io.js";
import { FileLock, QUICK } from "./file-lock.js";
import { isGone, type ProcessIdentity, parseIdentity } from "./process-identity.js";

/** A heartbeat this old means dead where the pid cannot tell (another container on the same directory). */
const DEAD_MS = 5 * 60_000;
const HEARTBEAT_MS = 30_000;

interface LedgerFile {
  used: number;
  grants: Record<string, number>;
}

export class DiskLedger {
  readonly #root: string;
  readonly #capacity: number;
  readonly #me: ProcessIdentity;
  readonly #lock: FileLock;
  readonly #known: () => number | undefined;
  #heartbeat: NodeJS.Timeout | undefined;
  /** Bytes taken or freed since the last settlement. */
  #delta = 0;
  /** Bytes that may be taken beyond the last settlement. */
  #granted = 0;
  /** Free bytes that the last settlement left for all. */
  #free: number;

  /** `known`: bytes of the directory that this process has counted itself; undefined until its scan has ended. */
  constructor(root: string, capacity: number, me: ProcessIdentity, counters: DiskCounters, known: () => number | undefined) {
    this.#root = root;
    this.#capacity = capacity;
    this.#me = me;
    this.#free = capacity;
    this.#known = known;
    const temp = () => join(root, "tmp", `${me.instance}-${randomUUID()}`);
    this.#lock = new FileLock(join(root, "ledger.lock"), me, counters, QUICK, temp);
  }

  /** Bytes that could still be taken, as far as is known here. */
  get free(): number {
    return this.#free + this.#granted - this.#delta;
  }

  async open(): Promise<void> {
    await writeFile(this.#proc(this.#me.instance), JSON.stringify(this.#me), { flag: "wx" });
    this.#heartbeat = setInterval(() => void this.#beat(), HEARTBEAT_MS).unref();
  }

  /** Takes bytes within the grant; false: `settle` first. */
  take(bytes: number): boolean {
    if (this.#delta + bytes > this.#granted) return false;
    this.#delta += bytes;
    return true;
  }

  /** Gives bytes back. */
  give(bytes: number): void {
    this.#delta -= bytes;
  }

  /** Writes down what was used and asks for a grant of `want` bytes. False where the lock could not be had. */
  async settle(want: number): Promise<boolean> {
    const done = await this.#lock.hold(async () => {
      const ledger = (await this.#read()) ?? { used: this.#capacity, grants: {} };
      await this.#reap(ledger);
      const delta = this.#delta;
      const known = this.#known();
      const entered = ledger.grants[this.#me.instance] !== undefined;
      const alone = Object.keys(ledger.grants).every((instance) => instance === this.#me.instance);
      // Nobody else writes here: our own count is the truth, whatever dead processes left in the ledger.
      if (alone && known !== undefined) ledger.used = known;
      // A process with a grant but no entry was taken for dead, and all of its grant counted as used.
      else if (entered || this.#granted === 0) ledger.used = Math.max(0, ledger.used + delta);
      const left = entered ? Math.max(0, this.#granted - delta) : 0;
      // Whoever stood still under the lock has lost it, and what it has read is old.
      if (!(await this.#lock.kept())) return false;
      await this.#grant(ledger, Math.max(left, want), left, delta);
      return true;
    });
    return done === true;
  }

  /** Living processes that use the directory, this one included. */
  async processes(): Promise<number> {
    const names = await readdir(join(this.#root, "procs")).catch(() => []);
    const others = names.filter((name) => name !== this.#me.instance);
    const dead = await Promise.all(others.map((name) => this.dead(name)));
    return 1 + dead.filter((is) => !is).length;
  }

  /** True where the process that named a file so is known to be dead. */
  async dead(instance: string): Promise<boolean> {
    if (instance === this.#me.instance) return false;
    try {
      const proc = this.#proc(instance);
      const identity = parseIdentity(await readFile(proc, "utf8"));
      if (identity !== undefined && isGone(identity, this.#me)) return true;
      return Date.now() - (await stat(proc)).mtimeMs > DEAD_MS;
    } catch (error) {
      return errorCode(error) === "ENOENT";
    }
  }

  /** Gives the grant back and takes leave. */
  async close(): Promise<void> {
    clearInterval(this.#heartbeat);
    await this.#lock.hold(async () => {
      const ledger = await this.#read();
      if (ledger === undefined || !(await this.#lock.kept())) return;
      ledger.used = Math.max(0, ledger.used + this.#delta);
      delete ledger.grants[this.#me.instance];
      await this.#write(ledger);
    });
    await removeFile(this.#proc(this.#me.instance));
  }

  async #grant(ledger: LedgerFile, want: number, least: number, delta: number): Promise<void> {
    const { instance } = this.#me;
    let others = 0;
    for (const [name, bytes] of Object.entries(ledger.grants)) if (name !== instance) others += bytes;
    const free = Math.max(0, this.#capacity - ledger.used - others);
    // What is left of the old grant may be taken while this is written: it is never cut.
    const granted = Math.max(least, Math.min(want, free));
    ledger.grants[instance] = granted;
    await this.#write(ledger);
    this.#granted = granted;
    this.#delta -= delta;
    this.#free = Math.max(0, free - granted);
  }

  async #reap(ledger: LedgerFile): Promise<void> {
    for (const [instance, bytes] of Object.entries(ledger.grants)) {
      if (!(await this.dead(instance))) continue;
      ledger.used += bytes;
      delete ledger.grants[instance];
      await removeFile(this.#proc(instance));
    }
  }

  async #read(): Promise<LedgerFile | undefined> {
    try {
      const { used, grants } = JSON.parse(await readFile(join(this.#root, "ledger.json"), "utf8")) as Partial<LedgerFile>;
      const sound = Number.isFinite(used) && used! >= 0 && typeof grants === "object" && grants !== null;
      return sound && Object.values(grants).every(Number.isFinite) ? { used: used!, grants } : undefined;
    } catch (error) {
      if (error instanceof SyntaxError || errorCode(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  async #write(ledger: LedgerFile): Promise<void> {
    const temp = join(this.#root, "tmp", `${this.#me.instance}-ledger`);
    await writeFileAtomically(temp, join(this.#root, "ledger.json"), [Buffer.from(JSON.stringify(ledger))]);
  }

  async #beat(): Promise<void> {
    const now = new Date();
    await utimes(this.#proc(this.#me.instance), now, now).catch(() => {});
  }

  #proc(instance: string): string {
    return join(this.#root, "procs", instance);
  }
}

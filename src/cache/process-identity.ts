import { randomBytes } from "node:crypto";
import { readFile, readlink } from "node:fs/promises";
import { hostname } from "node:os";

/** Who holds a lock or a grant. */
export interface ProcessIdentity {
  /** Unique: one process may open a directory twice. */
  readonly instance: string;
  readonly pid: number;
  /** Boot and pid namespace: only within one of them does a pid say whether its process is alive. */
  readonly host: string;
}

export async function thisProcess(): Promise<ProcessIdentity> {
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => hostname());
  const namespace = await readlink("/proc/self/ns/pid").catch(() => "");
  return { instance: `${process.pid}-${randomBytes(6).toString("hex")}`, pid: process.pid, host: `${boot.trim()} ${namespace}` };
}

export function parseIdentity(text: string): ProcessIdentity | undefined {
  try {
    const { instance, pid, host } = JSON.parse(text) as Partial<ProcessIdentity>;
    return typeof instance === "string" && Number.isSafeInteger(pid) && typeof host === "string"
      ? { instance, pid: pid!, host }
      : undefined;
  } catch {
    return undefined;
  }
}

/** True where the process is known to be gone; false also where that cannot be known from here. */
export function isGone(other: ProcessIdentity, mine: ProcessIdentity): boolean {
  if (other.host !== mine.host) return false;
  try {
    process.kill(other.pid, 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
}

/** Whether the process runs, rather than having been stopped (SIGSTOP); undefined where that cannot be known from here. */
export async function isRunning(other: ProcessIdentity, mine: ProcessIdentity): Promise<boolean | undefined> {
  if (other.host !== mine.host) return undefined;
  const stat = await readFile(`/proc/${other.pid}/stat`, "utf8").catch(() => undefined);
  // `pid (name) state …`, proc(5): the name may hold anything.
  const state = stat?.slice(stat.lastIndexOf(")") + 2)[0];
  return state === undefined ? undefined : !"TtZX".includes(state);
}

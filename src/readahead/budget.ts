/**
 * One budget of bytes for all read-ahead of an engine. It never stops a loop: what a loop needs now is not asked of it, and one unit may
 * always be ahead, so that it may be overdrawn by one unit a loop.
 */

import { type Pressure, START_BYTES } from "./depth.js";

/** One that reads ahead. */
export interface BudgetMember {
  /** What it has ahead, bytes. */
  readonly aheadBytes: number;
  /** Memory is short: make do with less. */
  press(by: Pressure): void;
  /** There may be room again. */
  pump(): void;
}

/** The memory of this process, of which read-ahead is a part. */
export interface ProcessMemory {
  readonly limitBytes: number;
  usedBytes(): number;
}

const MIB = 2 ** 20;
/** An eighth of the memory: the memory tier takes a quarter, windows and batches take theirs, and the rest is the loop's own. */
const BUDGET_SHARE = 1 / 8;
/** What one depth begins with, so that a loader alone can have it. */
const LEAST_BYTES = START_BYTES;
/** More only costs memory: 512 MiB are seconds of reading for any loop that one process can feed. */
const MOST_BYTES = 512 * MIB;
/** Beyond this part of the process's memory nothing more is read ahead: the rest is the loop's own. */
const MEMORY_SHARE = 0.9;
/** Asking for the memory in use costs some 10 µs: not more often than once in so many bytes taken. */
const CHECK_EVERY_BYTES = 64 * MIB;

export class ReadAheadBudget {
  readonly totalBytes: number;
  readonly #memory: ProcessMemory;
  readonly #members = new Set<BudgetMember>();
  /** Those who were refused, in order. */
  #waiting = new Set<BudgetMember>();
  #takenBytes = 0;
  #uncheckedBytes = 0;

  constructor(memory: ProcessMemory) {
    this.totalBytes = Math.floor(Math.min(MOST_BYTES, Math.max(LEAST_BYTES, memory.limitBytes * BUDGET_SHARE)));
    this.#memory = memory;
  }

  get takenBytes(): number {
    return this.#takenBytes;
  }

  join(member: BudgetMember): void {
    this.#members.add(member);
  }

  leave(member: BudgetMember): void {
    this.#members.delete(member);
    this.#waiting.delete(member);
  }

  /** False: not now; the member is pumped when there is room. */
  take(member: BudgetMember, bytes: number): boolean {
    // Whoever has nothing ahead gets its one unit.
    if (member.aheadBytes > 0) {
      if (this.#takenBytes + bytes > this.totalBytes) return this.#refuse(member, this.totalBytes / this.#members.size, "budget");
      if (this.#memoryIsShort(bytes)) return this.#refuse(member, 0, "memory");
    }
    this.#takenBytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#takenBytes -= bytes;
    if (this.#waiting.size === 0) return;
    const waiting = this.#waiting;
    this.#waiting = new Set();
    for (const member of waiting) member.pump();
  }

  /** Those who have more than `fairBytes` ahead are to make do with less. */
  #refuse(member: BudgetMember, fairBytes: number, by: Pressure): false {
    if (!this.#waiting.has(member)) {
      this.#waiting.add(member);
      for (const other of this.#members) if (other.aheadBytes > fairBytes) other.press(by);
    }
    return false;
  }

  #memoryIsShort(bytes: number): boolean {
    this.#uncheckedBytes += bytes;
    if (this.#uncheckedBytes < CHECK_EVERY_BYTES) return false;
    if (this.#memory.usedBytes() > this.#memory.limitBytes * MEMORY_SHARE) return true;
    this.#uncheckedBytes = 0;
    return false;
  }
}

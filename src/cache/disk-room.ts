/** The capacity of one directory: who may take how much of it, and what goes to make room. */
import pLimit from "p-limit";
import type { Claim } from "./block-index.js";
import type { DiskHealth } from "./disk-health.js";
import { fileCharge } from "./disk-layout.js";
import type { DiskLedger } from "./disk-ledger.js";

/** How long a directory that had no room is not asked again by the same kind of claim, unless something was freed: each try costs a lock. */
const FULL_MS = 1_000;
/** Grants are a 256th of the capacity, so that what other processes hold unused stays small, but not more than 64 MiB. */
const MAX_GRANT = 64 * 2 ** 20;

export interface RoomLimits {
  readonly capacity: number;
  readonly highWatermark: number;
  readonly lowWatermark: number;
  /** Unit in which the file system hands out space. */
  readonly fsBlock: number;
}

export class DiskRoom {
  readonly #limits: RoomLimits;
  readonly #ledger: DiskLedger;
  readonly #health: DiskHealth;
  /** Evicts the oldest that the claim may have go; false: there is none. */
  readonly #evict: (claim: Claim) => Promise<boolean>;
  readonly #one = pLimit(1);
  readonly #fullUntil = new Map<Claim, number>();
  #charged = 0;

  constructor(limits: RoomLimits, ledger: DiskLedger, health: DiskHealth, evict: (claim: Claim) => Promise<boolean>) {
    this.#limits = limits;
    this.#ledger = ledger;
    this.#health = health;
    this.#evict = evict;
  }

  /** Bytes of capacity taken, by what this process knows of. */
  get charged(): number {
    return this.#charged;
  }

  /** What a file of `length` data bytes takes. */
  charge(length: number): number {
    return fileCharge(length, this.#limits.fsBlock);
  }

  /** Promises room for a file, evicting what may go for it. Watermarks govern `lru` only. */
  async reserve(length: number, claim: Claim): Promise<boolean> {
    const charge = this.charge(length);
    if (charge > this.#limits.capacity || this.#health.disabled !== undefined) return false;
    // Whoever waits for a grant or an eviction is not to find it taken by one who came later, and the directory full.
    if (this.#one.activeCount + this.#one.pendingCount === 0 && this.#take(charge, claim)) return true;
    if (performance.now() < (this.#fullUntil.get(claim) ?? 0)) return false;
    return this.#one(() => this.#make(charge, claim));
  }

  /** Gives a promise or a removed file's room back. */
  release(charge: number): void {
    this.#charged -= charge;
    this.#ledger.give(charge);
    this.#fullUntil.clear();
  }

  /** Counts a file that the ledger knows of already. */
  found(charge: number): void {
    this.#charged += charge;
  }

  /** Stops counting a file that another process removed: it has given the room back. */
  lost(charge: number): void {
    this.#charged -= charge;
  }

  #ceiling(claim: Claim): number {
    return claim === "lru" ? this.#limits.highWatermark * this.#limits.capacity : this.#limits.capacity;
  }

  #take(charge: number, claim: Claim): boolean {
    if (claim === "lru" && this.#charged + charge > this.#ceiling(claim)) return false;
    if (!this.#ledger.take(charge)) return false;
    this.#charged += charge;
    return true;
  }

  async #make(charge: number, claim: Claim): Promise<boolean> {
    if (this.#take(charge, claim)) return true;
    if (this.#charged + charge <= this.#ceiling(claim)) {
      const want = Math.max(charge, Math.min(MAX_GRANT, Math.floor(this.#limits.capacity / 256)));
      await this.#health.attempt(() => this.#ledger.settle(want));
      if (this.#take(charge, claim)) return true;
    }
    await this.#free(charge, claim);
    if (this.#take(charge, claim)) return true;
    this.#fullUntil.set(claim, performance.now() + FULL_MS);
    return false;
  }

  /** Evicts for the claim: for `lru` down to the low watermark, so as not to evict for every block, but never more than lies between the two. */
  async #free(charge: number, claim: Claim): Promise<void> {
    const { capacity, highWatermark, lowWatermark } = this.#limits;
    const before = this.#charged;
    const wanted =
      claim === "lru" ? Math.max(charge, Math.min(before - lowWatermark * capacity, (highWatermark - lowWatermark) * capacity)) : charge;
    while (before - this.#charged < wanted && this.#health.disabled === undefined) if (!(await this.#evict(claim))) return;
  }
}

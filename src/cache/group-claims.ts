/**
 * Which process of a node fetches what the disk they share does not have yet: the one that holds the claim, a lock file for each group of an
 * object. The others look for the blocks' files meanwhile. Nothing but bytes fetched twice depends on it, so every wait has an end.
 */
import { join } from "node:path";
import { type Clock, systemClock } from "../util/clock.js";
import { FileLock } from "./file-lock.js";
import type { ProcessIdentity } from "./process-identity.js";

/** A holder that lives and has not fetched the group by then is stuck behind reads of its own. */
const WAIT_MS = 10_000;
/** A look costs a few file-system calls: seldom enough where an origin takes tens of milliseconds, often enough not to be felt. */
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 50;

export interface ClaimedFetch {
  /** Takes in what others have written; true where nothing is missing any more. */
  readonly arrived: () => Promise<boolean>;
  /** Brings what is missing; resolves when the others can find it. */
  readonly fetch: () => Promise<void>;
  readonly signal: AbortSignal;
}

/** A claim of this process, which several of its fetches in the group share. */
interface Claim {
  readonly lock: FileLock;
  readonly taken: Promise<boolean>;
  shares: number;
}

export class GroupClaims {
  readonly #folder: string;
  readonly #me: ProcessIdentity;
  readonly #clock: Clock;
  readonly #claims = new Map<string, Claim>();
  readonly #counters = { lockTakeovers: 0, lockTimeouts: 0 };

  constructor(folder: string, me: ProcessIdentity, clock: Clock = systemClock) {
    this.#folder = folder;
    this.#me = me;
    this.#clock = clock;
  }

  /** Claims taken over from processes that died or stood still. */
  get takeovers(): number {
    return this.#counters.lockTakeovers;
  }

  /** Fetches under the claim named `key`, unless it has all arrived meanwhile. Throws MILLRACE_ABORTED, and what the two functions throw. */
  async once(key: string, { arrived, fetch, signal }: ClaimedFetch): Promise<void> {
    const giveUpAt = this.#clock.now() + WAIT_MS;
    let claim = await this.#take(key);
    for (let pause = FIRST_PAUSE_MS; claim === undefined && this.#clock.now() < giveUpAt; pause = Math.min(2 * pause, LONGEST_PAUSE_MS)) {
      await this.#clock.sleep(pause, signal);
      if (await arrived()) return;
      claim = await this.#take(key);
    }
    try {
      // Written between the last look and the claim.
      if (!(await arrived())) await fetch();
    } finally {
      if (claim !== undefined) await this.#leave(key, claim);
    }
  }

  /** A share of this process's claim; undefined while another process has it. */
  async #take(key: string): Promise<Claim | undefined> {
    let claim = this.#claims.get(key);
    if (claim === undefined) {
      const lock = new FileLock(join(this.#folder, key), this.#me, this.#counters);
      // Where no lock can be made, nobody waits for one.
      claim = { lock, taken: lock.tryTake().catch(() => true), shares: 0 };
      this.#claims.set(key, claim);
    }
    claim.shares++;
    if (await claim.taken) return claim;
    await this.#leave(key, claim);
    return undefined;
  }

  async #leave(key: string, claim: Claim): Promise<void> {
    if (--claim.shares > 0) return;
    this.#claims.delete(key);
    await claim.lock.drop();
  }
}

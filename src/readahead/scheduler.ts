/**
 * Fetches what the loop needs next, before it needs it.
 *
 * Units come in order of need. A unit counts as ahead from the start of its fetch until the loop first needs it; no fetch starts while the
 * units ahead fill the depth, or the budget that all schedulers share. What the loop needs now is fetched at once, whatever the depth: so
 * progress is certain with any depth, and memory held is the units in use plus the depth.
 */
import { abortedError } from "../errors.js";
import { Priority } from "../storage/priority.js";
import { manyListeners } from "../util/combined-signal.js";
import type { BudgetMember, ReadAheadBudget } from "./budget.js";
import type { DepthRule, Pressure } from "./depth.js";

/** Something to fetch and hold: the part of a chunk that a window needs. */
export interface FetchUnit {
  /** Memory it takes once fetched. */
  readonly bytes: number;
  /** Called once; the priority is raised where the loop comes to need the unit while it is fetched. Rejecting fails whoever needs the unit. */
  fetch(priority: Priority, signal: AbortSignal): Promise<void>;
  /** Gives its memory back; after a fetch that succeeded, once. */
  release(): void;
}

const DEMAND = 0;
const READ_AHEAD = 1;

interface Started {
  readonly ready: Promise<void>;
  readonly priority: Priority;
  settled: boolean;
  ahead: boolean;
  /** The generation of the depth that held its fetch back; undefined where none did: a larger depth would not have fetched it sooner. */
  readonly heldBackIn: number | undefined;
}

export interface SchedulerStats {
  readonly depthBytes: number;
  readonly inFlight: number;
  readonly aheadBytes: number;
  readonly heldBytes: number;
  readonly reason: string;
}

export interface SchedulerOptions {
  /** Default: the depth alone bounds what is ahead. */
  readonly budget?: ReadAheadBudget | undefined;
  /** Whether the loop waits, and not only those who prepare what it will ask for. Default: always. */
  readonly loopStalled?: (() => boolean) | undefined;
}

export class Scheduler implements BudgetMember {
  readonly #units: Iterator<FetchUnit | undefined>;
  readonly #depth: DepthRule;
  readonly #budget: ReadAheadBudget | undefined;
  readonly #loopStalled: () => boolean;
  readonly #abort = new AbortController();
  readonly #started = new Map<FetchUnit, Started>();
  /** Every unit ever started: one that was needed before its turn must not be fetched again when its turn comes. */
  readonly #seen = new WeakSet<FetchUnit>();
  #next: FetchUnit | undefined;
  /** Of the unit whose turn is next. */
  #heldBackIn: number | undefined;
  #exhausted = false;
  #aheadBytes = 0;
  #heldBytes = 0;
  #inFlight = 0;

  /** An undefined unit: there is none yet; it is asked for again at the next pump. */
  constructor(units: Iterator<FetchUnit | undefined>, depth: DepthRule, { budget, loopStalled = () => true }: SchedulerOptions = {}) {
    this.#units = units;
    this.#depth = depth;
    this.#budget = budget;
    this.#loopStalled = loopStalled;
    budget?.join(this);
    manyListeners(this.#abort.signal);
  }

  /** Starts fetches until the depth is full. */
  pump(): void {
    while (!this.#abort.signal.aborted) {
      // With no depth, too: units that were needed meanwhile are left behind, not kept to the end.
      const unit = this.#peek();
      if (unit === undefined || this.#depth.depthBytes === 0) return;
      if (!this.#mayBeAhead(unit)) {
        this.#heldBackIn = this.#depth.generation;
        return;
      }
      this.#next = undefined;
      this.#start(unit, READ_AHEAD, this.#heldBackIn);
      this.#heldBackIn = undefined;
    }
  }

  get aheadBytes(): number {
    return this.#aheadBytes;
  }

  press(by: Pressure): void {
    // What is ahead comes down as the loop uses it: until it has, another halving would say nothing new.
    if (this.#aheadBytes <= this.#depth.depthBytes) this.#depth.pressed(by);
  }

  /** Undefined once the unit's bytes are there; else resolves when they are. `planned`: false for a unit that is none of those to come. */
  need(unit: FetchUnit, planned = true): Promise<void> | undefined {
    if (this.#abort.signal.aborted) throw abortedError(this.#abort.signal, "Reading");
    let started = this.#started.get(unit);
    if (started === undefined) started = this.#start(unit, DEMAND, planned ? this.#depth.generation : undefined);
    if (started.ahead) {
      started.ahead = false;
      started.priority.raise(DEMAND);
      this.#aheadBytes -= unit.bytes;
      this.#budget?.give(unit.bytes);
      this.pump();
    }
    return started.settled ? undefined : this.#wait(started);
  }

  /** The loop has used the unit up. */
  done(unit: FetchUnit): void {
    this.#started.delete(unit);
    this.#heldBytes -= unit.bytes;
    unit.release();
  }

  stats(): SchedulerStats {
    return {
      depthBytes: this.#depth.depthBytes,
      reason: this.#depth.reason,
      inFlight: this.#inFlight,
      aheadBytes: this.#aheadBytes,
      heldBytes: this.#heldBytes,
    };
  }

  /** Ends all fetches and starts no more: waits reject. Held memory stays until `close`, for those still reading it. */
  abort(): void {
    this.#abort.abort();
    this.#budget?.leave(this);
  }

  /** Aborts, and gives all memory back; resolves when no I/O of this scheduler is left. */
  async close(): Promise<void> {
    this.abort();
    const units = [...this.#started];
    this.#started.clear();
    const aheadBytes = this.#aheadBytes;
    this.#aheadBytes = 0;
    await Promise.all(
      units.map(([unit, started]) =>
        started.ready.then(
          () => unit.release(),
          () => {},
        ),
      ),
    );
    this.#budget?.give(aheadBytes);
  }

  async #wait(started: Started): Promise<void> {
    const since = performance.now();
    await started.ready;
    if (started.heldBackIn === undefined || !this.#loopStalled()) return;
    this.#depth.stalled(performance.now() - since, started.heldBackIn);
    this.pump();
  }

  /** One unit may always be ahead, however small the depth. */
  #mayBeAhead(unit: FetchUnit): boolean {
    if (this.#aheadBytes > 0 && this.#aheadBytes + unit.bytes > this.#depth.depthBytes) return false;
    return this.#budget === undefined || this.#budget.take(this, unit.bytes);
  }

  #peek(): FetchUnit | undefined {
    while (this.#next === undefined || this.#seen.has(this.#next)) {
      if (this.#exhausted) return undefined;
      const result = this.#units.next();
      this.#exhausted = result.done === true;
      this.#next = result.done === true ? undefined : result.value;
      if (this.#next === undefined) return undefined;
    }
    return this.#next;
  }

  #start(unit: FetchUnit, urgency: number, heldBackIn: number | undefined): Started {
    const ahead = urgency !== DEMAND;
    const priority = new Priority(urgency);
    this.#inFlight++;
    this.#heldBytes += unit.bytes;
    if (ahead) this.#aheadBytes += unit.bytes;
    const started: Started = { ready: unit.fetch(priority, this.#abort.signal), priority, settled: false, ahead, heldBackIn };
    this.#started.set(unit, started);
    this.#seen.add(unit);
    started.ready.then(
      () => {
        started.settled = true;
        this.#inFlight--;
      },
      // Reported to whoever needs the unit; a unit that nobody came to need fails silently.
      () => {
        this.#inFlight--;
      },
    );
    return started;
  }
}

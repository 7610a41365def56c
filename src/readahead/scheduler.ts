/**
 * Fetches what the loop needs next, before it needs it.
 *
 * Units come in order of need. A unit counts as ahead from the start of its fetch until the loop first needs it; no fetch starts while the
 * units ahead fill the depth. What the loop needs now is fetched at once, whatever the depth: so progress is certain with any depth, and
 * memory held is the units in use plus the depth.
 */
import { abortedError } from "../errors.js";
import { manyListeners } from "../util/combined-signal.js";
import type { DepthRule } from "./depth.js";

/** Something to fetch and hold: the part of a chunk that a window needs. */
export interface FetchUnit {
  /** Memory it takes once fetched. */
  readonly bytes: number;
  /** Called once. Rejecting fails whoever needs the unit. */
  fetch(priority: number, signal: AbortSignal): Promise<void>;
  /** Gives its memory back; after a fetch that succeeded, once. */
  release(): void;
}

const DEMAND = 0;
const READ_AHEAD = 1;

interface Started {
  readonly ready: Promise<void>;
  settled: boolean;
  ahead: boolean;
}

export interface SchedulerStats {
  readonly depthBytes: number;
  readonly inFlight: number;
  readonly aheadBytes: number;
  readonly heldBytes: number;
  readonly reason: string;
}

export class Scheduler {
  readonly #units: Iterator<FetchUnit | undefined>;
  readonly #depth: DepthRule;
  readonly #abort = new AbortController();
  readonly #started = new Map<FetchUnit, Started>();
  /** Every unit ever started: one that was needed before its turn must not be fetched again when its turn comes. */
  readonly #seen = new WeakSet<FetchUnit>();
  #next: FetchUnit | undefined;
  #exhausted = false;
  #aheadBytes = 0;
  #heldBytes = 0;
  #inFlight = 0;

  /** An undefined unit: there is none yet; it is asked for again at the next pump. */
  constructor(units: Iterator<FetchUnit | undefined>, depth: DepthRule) {
    this.#units = units;
    this.#depth = depth;
    manyListeners(this.#abort.signal);
  }

  /** Starts fetches until the depth is full. */
  pump(): void {
    while (!this.#abort.signal.aborted) {
      // With no depth, too: units that were needed meanwhile are left behind, not kept to the end.
      const unit = this.#peek();
      if (unit === undefined || this.#depth.depthBytes === 0) return;
      // One unit may always be ahead, however small the depth.
      if (this.#aheadBytes > 0 && this.#aheadBytes + unit.bytes > this.#depth.depthBytes) return;
      this.#next = undefined;
      this.#start(unit, READ_AHEAD);
    }
  }

  /** Undefined once the unit's bytes are there; else resolves when they are. */
  need(unit: FetchUnit): Promise<void> | undefined {
    if (this.#abort.signal.aborted) throw abortedError(this.#abort.signal, "Reading");
    let started = this.#started.get(unit);
    if (started === undefined) started = this.#start(unit, DEMAND);
    if (started.ahead) {
      started.ahead = false;
      this.#aheadBytes -= unit.bytes;
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
  }

  /** Aborts, and gives all memory back; resolves when no I/O of this scheduler is left. */
  async close(): Promise<void> {
    this.abort();
    const units = [...this.#started];
    this.#started.clear();
    await Promise.all(
      units.map(([unit, started]) =>
        started.ready.then(
          () => unit.release(),
          () => {},
        ),
      ),
    );
  }

  async #wait(started: Started): Promise<void> {
    const since = performance.now();
    await started.ready;
    this.#depth.stalled(performance.now() - since);
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

  #start(unit: FetchUnit, priority: number): Started {
    const ahead = priority !== DEMAND;
    this.#inFlight++;
    this.#heldBytes += unit.bytes;
    if (ahead) this.#aheadBytes += unit.bytes;
    const started: Started = { ready: unit.fetch(priority, this.#abort.signal), settled: false, ahead };
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

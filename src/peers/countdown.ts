import type { AlarmClock } from "../util/alarm-clock.js";

export interface CountdownParts {
  /** Milliseconds; how often it is looked at, too. */
  readonly ms: number;
  readonly tickMs: number;
  /** Something that changes with each sign for which the time begins anew, at the tick after it. Default: there are none. */
  readonly signs?: (() => number) | undefined;
  readonly due: () => void;
}

/**
 * A time without signs that passes in turns of this process's own loop: where the machine keeps it waiting, it keeps its neighbours waiting too,
 * and they are not to pass for dead.
 */
export class Countdown {
  readonly #clock: AlarmClock;
  readonly #parts: CountdownParts;
  #seen: number | undefined;
  #leftMs: number;
  #stopped = false;
  #cancel: (() => void) | undefined;

  constructor(clock: AlarmClock, parts: CountdownParts) {
    this.#clock = clock;
    this.#parts = parts;
    this.#seen = parts.signs?.();
    this.#leftMs = parts.ms;
    this.#tick();
  }

  /** Idempotent. */
  stop(): void {
    this.#stopped = true;
    this.#cancel?.();
  }

  #tick(): void {
    const ms = Math.min(this.#parts.tickMs, this.#leftMs);
    // What came meanwhile is read first.
    this.#cancel = this.#clock.after(ms, () => setImmediate(() => this.#stopped || this.#passed(ms)));
  }

  #passed(ms: number): void {
    const { signs, due } = this.#parts;
    const seen = signs?.();
    this.#leftMs = seen === this.#seen ? this.#leftMs - ms : this.#parts.ms;
    this.#seen = seen;
    if (this.#leftMs > 0) this.#tick();
    else due();
  }
}

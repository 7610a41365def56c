import type { AlarmClock } from "../util/alarm-clock.js";

/** How often the wait is looked at, milliseconds. */
const TICK_MS = 100;

/** How long a peer is waited for, milliseconds. */
export interface Waits {
  /** For a sign of life. */
  readonly silenceMs: number;
  /** For what was asked, whatever signs there are. */
  readonly answerMs: number;
}

/** Why the wait is over: nothing was heard, or what was asked did not come. */
export type Late = "silent" | "long";

/**
 * Fires its signal when nothing was heard for a while, or what was asked for has not come in a longer one, or when the caller's own signal
 * fires. Silence is counted in turns of this process's own loop: where the machine keeps it waiting, it keeps its neighbours waiting too,
 * and they are not to pass for dead. To be ended.
 */
export class Patience {
  readonly #clock: AlarmClock;
  readonly #waits: Waits;
  readonly #theirs: AbortSignal | undefined;
  readonly #controller = new AbortController();
  readonly #cancelLong: () => void;
  #cancelTick: (() => void) | undefined;
  /** Of signs of life, so that a turn that was begun before one does not count. */
  #signs = 0;
  #leftMs = 0;
  #late: Late | undefined;

  constructor(clock: AlarmClock, waits: Waits, signal: AbortSignal | undefined) {
    this.#clock = clock;
    this.#waits = waits;
    this.#theirs = signal;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#cancelLong = clock.after(waits.answerMs, () => this.#give("long", `no answer in ${waits.answerMs} ms`));
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The time was up. */
  get late(): Late | undefined {
    return this.#late;
  }

  /** A sign of life: the wait begins anew. */
  heard(): void {
    this.#stop();
    this.#leftMs = this.#waits.silenceMs;
    this.#tick();
  }

  /** The answer has begun: there is nothing more to wait for, but the caller's signal still counts. */
  calm(): void {
    this.#stop();
    this.#cancelLong();
  }

  end(): void {
    this.calm();
    this.#theirs?.removeEventListener("abort", this.#onAbort);
  }

  #stop(): void {
    this.#signs++;
    this.#cancelTick?.();
  }

  #tick(): void {
    const signs = this.#signs;
    const ms = Math.min(TICK_MS, this.#leftMs);
    // What came meanwhile is read first.
    this.#cancelTick = this.#clock.after(ms, () => setImmediate(() => signs === this.#signs && this.#passed(ms)));
  }

  #passed(ms: number): void {
    this.#leftMs -= ms;
    if (this.#leftMs > 0) this.#tick();
    else this.#give("silent", `no sign of life in ${this.#waits.silenceMs} ms`);
  }

  #give(late: Late, message: string): void {
    this.#late = late;
    this.#controller.abort(new Error(message));
  }

  readonly #onAbort = (): void => this.#controller.abort(this.#theirs!.reason);
}

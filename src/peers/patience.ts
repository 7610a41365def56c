import type { AlarmClock } from "../util/alarm-clock.js";

/** Fires its signal when nothing was heard for a while, or when the caller's own signal fires. To be ended. */
export class Patience {
  readonly #clock: AlarmClock;
  readonly #ms: number;
  readonly #theirs: AbortSignal | undefined;
  readonly #controller = new AbortController();
  #cancel: (() => void) | undefined;
  #waits = 0;
  #late = false;

  constructor(clock: AlarmClock, ms: number, signal: AbortSignal | undefined) {
    this.#clock = clock;
    this.#ms = ms;
    this.#theirs = signal;
    if (signal?.aborted) this.#onAbort();
    else signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** The time was up. */
  get late(): boolean {
    return this.#late;
  }

  /** A sign of life: the wait begins anew. */
  heard(): void {
    this.calm();
    const wait = this.#waits;
    // Where it was this process that stood still, what came meanwhile is read first.
    this.#cancel = this.#clock.after(this.#ms, () => setImmediate(() => this.#due(wait)));
  }

  /** There is nothing more to wait for, but the caller's signal still counts. */
  calm(): void {
    this.#waits++;
    this.#cancel?.();
  }

  end(): void {
    this.calm();
    this.#theirs?.removeEventListener("abort", this.#onAbort);
  }

  #due(wait: number): void {
    if (wait !== this.#waits) return;
    this.#late = true;
    this.#controller.abort(new Error(`no sign of life in ${this.#ms} ms`));
  }

  readonly #onAbort = (): void => this.#controller.abort(this.#theirs!.reason);
}

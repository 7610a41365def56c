import type { Console } from "../../../src/cli/command.js";

/** Keeps what a command writes. */
export class KeptConsole implements Console {
  readonly outLines: string[] = [];
  readonly errLines: string[] = [];
  readonly #stop = new AbortController();

  get signal(): AbortSignal {
    return this.#stop.signal;
  }
  out(line: string): void {
    this.outLines.push(line);
  }
  err(line: string): void {
    this.errLines.push(line);
  }
  /** As SIGTERM does. */
  stop(): void {
    this.#stop.abort(new Error("SIGTERM"));
  }
}

import type { Progress } from "../api.js";
import { tellObserver } from "./tell-observer.js";

/** Observers are told at most this often: a progress bar needs no more, and each report may cross a thread. */
const REPORT_EVERY_MS = 100;

/** Counts work done against work known of, and tells an observer now and then. */
export class ProgressMeter {
  readonly #observer: ((progress: Progress) => void) | undefined;
  readonly #startedAt = performance.now();
  #reportedAt = Number.NEGATIVE_INFINITY;
  #bytes = 0;
  #totalBytes = 0;
  #objects = 0;
  #totalObjects = 0;
  #late: Error | undefined;

  constructor(observer?: (progress: Progress) => void) {
    this.#observer = observer;
  }

  expect(objects: number, bytes: number): void {
    this.#totalObjects += objects;
    this.#totalBytes += bytes;
  }

  did(objects: number, bytes: number): void {
    this.#objects += objects;
    this.#bytes += bytes;
    if (performance.now() - this.#reportedAt >= REPORT_EVERY_MS) this.report();
  }

  /** Tells the observer now: for the last report, which must not be swallowed. Throws what it throws, or what an async one has rejected with since. */
  report(): void {
    this.#reportedAt = performance.now();
    if (this.#late !== undefined) throw this.#late;
    tellObserver(this.#observer, this.progress, (error) => {
      this.#late ??= error;
    });
  }

  get progress(): Progress {
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const bytesPerSecond = seconds > 0 ? this.#bytes / seconds : 0;
    const left = Math.max(0, this.#totalBytes - this.#bytes);
    return {
      bytes: this.#bytes,
      totalBytes: this.#totalBytes,
      objects: this.#objects,
      totalObjects: this.#totalObjects,
      bytesPerSecond,
      etaSeconds: left === 0 ? 0 : left / bytesPerSecond,
    };
  }
}

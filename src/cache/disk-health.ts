import type { DiskCounters } from "./disk-counters.js";
import { errorCode } from "./file-io.js";

/** Errors in a row after which a directory is given up: one may be a passing fault, five are a broken or full disk. */
const MAX_ERRORS = 5;
/** Errors of the whole process, not of the directory. */
const PASSING: ReadonlySet<string> = new Set(["EMFILE", "ENFILE", "ENOMEM", "EAGAIN"]);

/** Runs a directory's file operations: what fails is counted and costs speed only, and a directory that keeps failing is left alone. */
export class DiskHealth {
  readonly #counters: DiskCounters;
  readonly #onDisabled: (reason: string) => void;
  #errors = 0;
  #disabled: string | undefined;

  constructor(counters: DiskCounters, onDisabled: (reason: string) => void) {
    this.#counters = counters;
    this.#onDisabled = onDisabled;
  }

  /** Why the directory was given up; undefined while it is in use. */
  get disabled(): string | undefined {
    return this.#disabled;
  }

  /** The result, or undefined where it failed. A file that is missing is no failure, unless it was to be written. */
  async attempt<T>(work: () => Promise<T>, writes = false): Promise<T | undefined> {
    if (this.#disabled !== undefined) return undefined;
    try {
      const result = await work();
      this.#errors = 0;
      return result;
    } catch (error) {
      if (errorCode(error) === "ENOENT" && !writes) return undefined;
      const code = this.#counters.error(error);
      if (!PASSING.has(code) && ++this.#errors === MAX_ERRORS) {
        this.#disabled = code;
        this.#onDisabled(code);
      }
      return undefined;
    }
  }
}

/**
 * Fresh memory has no pages yet: the system makes and clears one at the first write to each 4 KiB, which costs whoever writes 0.4 CPU s/GB, more than
 * to read the bytes from a socket or to copy them from a cache. Reading zeros from a device into it does that in a thread of libuv's pool.
 */
import { closeSync, openSync, read } from "node:fs";
import { promisify } from "node:util";

const DEVICE = "/dev/zero";
const readFrom = promisify(read);

/** Resolves when the bytes are zeros and their pages are there; where that cannot be done, they are as they were. Never rejects. Nobody else may write there meanwhile. */
export async function touchMemory(bytes: Uint8Array): Promise<void> {
  try {
    // Of a device, both take microseconds.
    const zeros = openSync(DEVICE, "r");
    await readFrom(zeros, bytes, 0, bytes.length, null).finally(() => closeSync(zeros));
  } catch {
    // What is left without pages gets them from whoever writes there.
  }
}

/** Stretches of fresh memory that are written to one after the other. */
export class TouchedAhead {
  readonly #stretches: readonly Uint8Array[];
  readonly #ahead: number;
  readonly #touched: Promise<void>[] = [];

  /** `ahead`: how many stretches before it is written to one is touched. */
  constructor(stretches: readonly Uint8Array[], ahead: number) {
    this.#stretches = stretches;
    this.#ahead = ahead;
  }

  /** Resolves when stretch `i` may be written to. The first are not waited for, nor touched: whoever writes to them is to begin at once. */
  async ready(i: number): Promise<void> {
    const next = i + this.#ahead;
    if (next < this.#stretches.length) this.#touched[next] = touchMemory(this.#stretches[next]!);
    await this.#touched[i];
  }

  /** Resolves when nothing writes zeros any more. */
  async close(): Promise<void> {
    await Promise.all(this.#touched);
  }
}

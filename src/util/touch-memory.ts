/**
 * Fresh memory has no pages yet: the system makes and clears one at the first write to each 4 KiB, which costs whoever writes 0.4 CPU s/GB, more than
 * to read the bytes from a socket or to copy them from a cache. Reading zeros from a device into it does that in a thread of libuv's pool.
 */
import { closeSync, openSync, read } from "node:fs";
import { promisify } from "node:util";
import pLimit from "p-limit";

const DEVICE = "/dev/zero";
const readFrom = promisify(read);
/** With all four threads of the pool at it, whoever reads the sockets waits for a processor, and other files for a thread. */
const AT_ONCE = 2;
const turns = pLimit(AT_ONCE);

/** Resolves when the bytes are zeros and their pages are there; where that cannot be done, they are as they were. Never rejects. Nobody else may write there meanwhile. */
export function touchMemory(bytes: Uint8Array): Promise<void> {
  return turns(async () => {
    try {
      // Of a device, both take microseconds.
      const zeros = openSync(DEVICE, "r");
      await readFrom(zeros, bytes, 0, bytes.length, null).finally(() => closeSync(zeros));
    } catch {
      // What is left without pages gets them from whoever writes there.
    }
  });
}

/** Stretches not touched: whoever writes to them is to begin at once, while the next ones are touched. */
const UNTOUCHED = 2;

/** Stretches of fresh memory that are written to one after the other. */
export class TouchedAhead {
  readonly #stretches: readonly Uint8Array[];
  readonly #ahead: number;
  readonly #touched: Promise<void>[] = [];
  /** Those of other readers need not wait for all of these. */
  readonly #turns = pLimit(AT_ONCE);
  #closed = false;

  /** `ahead`: how many stretches before it is written to one is touched. */
  constructor(stretches: readonly Uint8Array[], ahead: number) {
    this.#stretches = stretches;
    this.#ahead = ahead;
    for (let i = UNTOUCHED; i < ahead; i++) this.#touch(i);
  }

  /** Resolves when stretch `i` may be written to. */
  async ready(i: number): Promise<void> {
    this.#touch(i + this.#ahead);
    await this.#touched[i];
  }

  /** Begins no more; resolves when nothing writes zeros any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#touched);
  }

  #touch(i: number): void {
    if (i < this.#stretches.length) this.#touched[i] = this.#turns(() => (this.#closed ? undefined : touchMemory(this.#stretches[i]!)));
  }
}

/** The memory that a save's bytes are in on their way: blocks of the slab, so that they are sent, written and cached without another copy. */
import type { Slab, Slot } from "../blocks/slab.js";
import type { CacheFill } from "../cache/cache-fill.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { adjoinAll } from "../util/adjoin.js";
import { type Deferred, deferred } from "../util/deferred.js";
import { unlessAborted } from "../util/unless-aborted.js";
import type { SaveRoom } from "./save-protocol.js";

/** What a multipart upload sends at once. */
const PART_BYTES = 8 * 2 ** 20;

/** Bytes of one part: whole blocks. */
export function partBytes({ blockSize }: Pick<BlockCache, "blockSize">): number {
  return Math.max(PART_BYTES, blockSize);
}

/** Some blocks of a file. Its memory is the slab's again when its last holder, of whom it begins with one, has released it. */
export class SavePart {
  readonly begin: number;
  /** Its memory, in order: one view, but where the slab is fragmented. */
  readonly views: readonly Uint8Array[];
  readonly #blockSize: number;
  readonly #slots: readonly Slot[];
  #holders = 1;

  constructor({ slab, blockSize }: { readonly slab: Slab; readonly blockSize: number }, begin: number, end: number) {
    const lengths = Array.from({ length: Math.ceil((end - begin) / blockSize) }, (_, i) =>
      Math.min(blockSize, end - begin - i * blockSize),
    );
    this.begin = begin;
    this.#blockSize = blockSize;
    this.#slots = slab.allocateRun(lengths);
    this.views = adjoinAll(this.#slots.map(({ bytes }) => bytes));
  }

  /** All of it in one piece. */
  joined(): Uint8Array {
    return this.views.length === 1 ? this.views[0]! : Buffer.concat(this.views);
  }

  /** Holds its blocks in the cache. */
  async hold(fill: CacheFill): Promise<void> {
    for (const [i, slot] of this.#slots.entries()) {
      const begin = this.begin + i * this.#blockSize;
      await fill.hold(begin / this.#blockSize, begin, slot);
    }
  }

  retain(): void {
    this.#holders++;
  }

  release(): void {
    if (--this.#holders === 0) for (const slot of this.#slots) slot.release();
  }
}

interface Loan {
  readonly part: SavePart;
  /** Resolves when the caller has filled it, or writes no more. */
  readonly over: Deferred<void>;
}

/** Lends parts to the caller's thread, one at a time, to be filled. */
export class Lending {
  #offer: Deferred<void> = deferred();
  /** Waits for the caller to ask, which it may do after the engine has come this far or before. */
  #offered: Loan | undefined;
  #lent: Loan | undefined;
  #again = false;
  #left = false;
  #ended = false;

  /** The file's parts, as the caller fills them: each is its reader's to release. */
  async *parts(
    cache: Pick<BlockCache, "slab" | "blockSize">,
    size: number,
    signal: AbortSignal,
  ): AsyncGenerator<SavePart, void, undefined> {
    const length = partBytes(cache);
    for (let begin = 0; begin < size; begin += length) {
      const part = new SavePart(cache, begin, Math.min(size, begin + length));
      try {
        await this.#fill(part, signal);
      } catch (error) {
        part.release();
        throw error;
      }
      yield part;
    }
  }

  /** The caller has written what was lent, and wants more. */
  async next(): Promise<SaveRoom> {
    this.#takeBack();
    if (!this.#ended && !this.#again) await this.#offer.promise;
    if (this.#again) {
      this.#again = false;
      if (this.#offered === undefined && !this.#ended) this.#offer = deferred();
      return "again";
    }
    if (this.#left) return undefined;
    this.#offer = deferred();
    this.#lent = this.#offered;
    this.#offered = undefined;
    return this.#lent?.part.views;
  }

  /** What the caller has written is of no use: it is to begin anew. Nothing is on offer then. */
  restart(): void {
    this.#again = true;
    this.#offer.resolve();
  }

  /** There is nothing more to write. */
  end(): void {
    this.#ended = true;
    this.#offered?.part.release();
    this.#offered = undefined;
    this.#offer.resolve();
  }

  /** The caller writes no more, whatever it has asked for before. */
  left(): void {
    this.#left = true;
    this.#takeBack();
  }

  #takeBack(): void {
    this.#lent?.part.release();
    this.#lent?.over.resolve();
    this.#lent = undefined;
  }

  async #fill(part: SavePart, signal: AbortSignal): Promise<void> {
    // The caller may be writing when the save ends: until it says that it is not, the memory is nobody else's.
    part.retain();
    const over = deferred<void>();
    this.#offered = { part, over };
    this.#offer.resolve();
    await unlessAborted(over.promise, signal, "The save");
  }
}

import { randomUUID } from "node:crypto";
import { type HoldRules, type ObjectVersion, objectVersion } from "../blocks/object-version.js";
import type { Slot } from "../blocks/slab.js";
import type { OriginStore } from "../storage/origin-store.js";
import type { BlockLoader } from "./block-loader.js";
import type { Holdings } from "./holdings.js";

/**
 * The blocks of an object that is being written. Its etag, and so its id, is known when it is whole; until then they are held under a name
 * of their own, which nobody else asks for, and may be evicted as others may.
 */
export class CacheFill {
  readonly #loader: BlockLoader;
  readonly #holdings: Holdings;
  readonly #unnamed: ObjectVersion;

  constructor(
    loader: BlockLoader,
    holdings: Holdings,
    store: OriginStore,
    { path, size }: { path: string; size: number },
    rules: HoldRules,
  ) {
    this.#loader = loader;
    this.#holdings = holdings;
    this.#unnamed = objectVersion(store, { path, size, etag: `writing ${randomUUID()}`, lastModified: undefined }, rules);
  }

  /** Holds a block, if there is room for it. Resolves when the next may come. */
  hold(block: number, begin: number, slot: Slot): Promise<void> {
    return this.#loader.keep(this.#unnamed, block, begin, slot);
  }

  /** The object is whole, and this version. */
  keep(object: ObjectVersion): Promise<void> {
    return this.#holdings.rename(this.#unnamed.id, object);
  }

  /** The object was not written. */
  async drop(): Promise<void> {
    await this.#holdings.drop(this.#unnamed.id);
  }
}

/** Brings the objects of a checkpoint to their origins, and into the cache on the way. */
import { objectVersion } from "../blocks/object-version.js";
import type { MetadataCache } from "../cache/metadata-cache.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { isMillraceError, MillraceError } from "../errors.js";
import type { StoredObject, WriteOptions } from "../storage/store.js";
import { type Place, uriOf } from "./mounts.js";
import type { SavePart } from "./save-parts.js";
import { isIndex, olderThan, otherForm, seriesOf, shardsOf } from "./save-series.js";
import type { SaveTarget } from "./save-target.js";

type Log = (level: string, fields: object, message: string) => void;
type Watched = Pick<WriteOptions, "signal" | "onProgress">;

/** How far a save has come: what the next try begins with. */
export interface SaveProgress {
  /** What is at the origin, in the order of the files. */
  readonly stored: StoredObject[];
  /** Shards of the checkpoints whose index this one's replaces, by path. */
  replaced: readonly string[];
}

export interface SaveTerms {
  readonly keep: number | undefined;
  readonly signal: AbortSignal;
  /** Of the n-th object; released by whoever reads them. */
  readonly parts: (n: number) => AsyncIterable<SavePart>;
  /** Told of bytes that an origin has taken. */
  readonly onBytes?: (bytes: number) => void;
  /** Told of the shards that are to be removed, before anything is written that makes them useless. */
  readonly onReplaced?: (paths: readonly string[]) => Promise<void>;
  /** Told that the checkpoint is whole, before what is older is removed, which may take long. */
  readonly onWhole: (stored: StoredObject) => Promise<void>;
}

/** A save that has failed, and a mill that closes, do not wait longer for an origin that does not answer. */
const TAKE_BACK_MS = 10_000;
/** An index of a million tensors is some 60 MB. */
const MAX_INDEX_BYTES = 256 * 2 ** 20;

/** An index at an origin, and the shards of the checkpoint that it stands for, by path. */
interface Index {
  readonly stored: StoredObject;
  readonly shards: readonly string[];
}

export class SaveUploads {
  readonly #cache: BlockCache;
  readonly #metadata: MetadataCache;
  readonly #log: Log;
  /** Bytes that origins have taken. */
  bytes = 0;
  /** Older checkpoints that were removed. */
  removed = 0;

  constructor(cache: BlockCache, metadata: MetadataCache, log: Log) {
    this.#cache = cache;
    this.#metadata = metadata;
    this.#log = log;
  }

  /** Writes one object. Resolves when its origin has it whole, and the cache what there was room for. Releases the parts. */
  async write(place: Place, size: number, parts: AsyncIterable<SavePart>, options: Watched): Promise<StoredObject> {
    const { store, path, rules } = place;
    const fill = this.#cache.fill(store, path, size, rules);
    const out = new Map<Uint8Array, SavePart>();
    const release = (bytes: Uint8Array) => {
      out.get(bytes)?.release();
      out.delete(bytes);
    };
    async function* bodies() {
      for await (const part of parts) {
        const bytes = part.joined();
        out.set(bytes, part);
        await part.hold(fill);
        yield bytes;
      }
    }
    try {
      const stored = await store.write!(path, bodies(), { ...options, size, release });
      this.bytes += size;
      await fill.keep(objectVersion(store, stored, rules));
      this.#metadata.learn(store, stored);
      return stored;
    } catch (error) {
      // A write that failed may still have taken place: its answer may be what was lost.
      this.#metadata.forget(store, path);
      await fill.drop();
      throw error;
    } finally {
      for (const part of out.values()) part.release();
    }
  }

  /**
   * Writes the objects of a checkpoint in order, from the one after those in `done`, to which each is added: with the last the checkpoint is whole.
   * Then removes the shards of the one that it replaces, or that one in its other form, and with `keep` the older ones of its series; what of these fails is logged.
   */
  async all(files: readonly SaveTarget[], done: SaveProgress, save: SaveTerms): Promise<void> {
    const { signal, keep, parts, onBytes } = save;
    const { place } = files.at(-1)!;
    const own = new Set(files.map(({ place: { path } }) => path));
    const index = await this.#indexBefore(place, signal);
    // By an earlier try, or that of a process that ended before it had removed what that has replaced.
    if (isIndexOf(files, index)) done.stored[files.length - 1] = index.stored;
    const found = (index?.shards ?? []).filter((path) => !own.has(path));
    done.replaced = [...new Set([...done.replaced, ...found])];
    if (found.length > 0) await save.onReplaced?.(done.replaced);
    for (let n = done.stored.length; n < files.length; n++) {
      let taken = 0;
      const onProgress = (bytes: number) => {
        onBytes?.(bytes - taken);
        taken = bytes;
      };
      const written = this.write(files[n]!.place, files[n]!.size, parts(n), { signal, onProgress });
      done.stored.push(await (n < files.length - 1 ? written : written.catch((error) => this.#unlessThere(files, error, signal))));
    }
    await save.onWhole(done.stored.at(-1)!);
    await this.remove(place, done.replaced, signal).catch((error) => {
      if (signal.aborted) throw error;
      this.#left(place, error);
    });
    await this.#removeOther(place, own, signal).catch((error) => this.#left(place, error));
    if (keep !== undefined) await this.#removeOlder(place, keep, signal).catch((error) => this.#left(place, error));
  }

  /**
   * Removes the shards, the first `written` of its files, of a save that failed, but none that the index at the origin names: it may have been written,
   * and its answer lost; then the shards that it has replaced are of no use. What is not known to be of no use is left. Throws nothing: what fails is logged.
   */
  async takeBack(files: readonly SaveTarget[], written: number, replaced: readonly string[]): Promise<void> {
    const { place } = files.at(-1)!;
    const signal = AbortSignal.timeout(TAKE_BACK_MS);
    const own = files.slice(0, Math.min(written, files.length - 1)).map((file) => file.place.path);
    if (own.length === 0) return;
    try {
      const named = own.length < files.length - 1 ? [] : ((await this.#indexAt(place, signal))?.shards ?? []);
      const isThere = own.every((path) => named.includes(path));
      await this.#removeEach(place, isThere ? replaced : own.filter((path) => !named.includes(path)), signal);
    } catch (error) {
      const fields = { uri: uriOf(place), shards: [...own, ...replaced], error: String(error) };
      this.#log("warn", fields, "A save failed, and it is not known which of these shards its index names: remove those that it does not");
    }
  }

  /** Removes shards that are of no use any more, at once: there may be more of them than there is time for one after the other. Logs which stay. */
  async #removeEach(place: Place, paths: readonly string[], signal: AbortSignal): Promise<void> {
    const errors = await Promise.all(paths.map((path) => this.remove(place, [path], signal).catch((error) => error)));
    const error = errors.find((one) => one !== undefined);
    if (error === undefined) return;
    const fields = { uri: uriOf(place), shards: paths.filter((_, i) => errors[i] !== undefined), error: String(error) };
    this.#log("warn", fields, "Shards that are of no use any more could not be removed: remove them");
  }

  /** Throws what the store throws, but that the index may not be read. */
  async #indexBefore(place: Place, signal: AbortSignal): Promise<Index | undefined> {
    try {
      return await this.#indexAt(place, signal);
    } catch (error) {
      if (!isMillraceError(error, "MILLRACE_PERMISSION") && !isMillraceError(error, "MILLRACE_CHANGED")) throw error;
      this.#left(place, error);
      return undefined;
    }
  }

  /** What the origin has of an index whose write failed: its answer may be what was lost. Throws `error` where that is not this save's. */
  async #unlessThere(files: readonly SaveTarget[], error: unknown, signal: AbortSignal): Promise<StoredObject> {
    const { place } = files.at(-1)!;
    if (signal.aborted) throw error;
    const index = await this.#indexAt(place, AbortSignal.timeout(TAKE_BACK_MS)).catch(() => undefined);
    if (!isIndexOf(files, index)) throw error;
    this.#metadata.learn(place.store, index.stored);
    return index.stored;
  }

  /** The index at a place, and the shards of the checkpoint that it stands for; undefined where there is none. Throws what the store throws. */
  async #indexAt({ store, path }: Place, signal: AbortSignal): Promise<Index | undefined> {
    if (!isIndex(path)) return undefined;
    try {
      const stored = await store.stat(path, { signal });
      if (stored.size > MAX_INDEX_BYTES) return { stored, shards: [] };
      const json = new Uint8Array(stored.size);
      await store.readInto(stored, 0, [json], { signal });
      return { stored, shards: shardsOf(path, json) };
    } catch (error) {
      if (isMillraceError(error, "MILLRACE_NOT_FOUND")) return undefined;
      throw error;
    }
  }

  /** Removes objects of the place's store, from the cache too. Throws what the store throws. */
  async remove({ store, rules }: Place, paths: readonly string[], signal: AbortSignal | undefined): Promise<void> {
    for (const path of paths) {
      const stored = await this.#metadata.stat(store, path, { signal }).catch(() => undefined);
      await store.remove?.(path, { signal });
      this.#metadata.forget(store, path);
      if (stored !== undefined) await this.#cache.evict([objectVersion(store, stored, rules).id]);
    }
  }

  /**
   * A single file and an index of one name would be two checkpoints, and the older one could be read for the newer. One that another node has saved
   * since stays, or each would remove the other's.
   */
  async #removeOther(place: Place, own: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    const { store } = place;
    const path = otherForm(place.path);
    if (path === undefined) return;
    const facts = (of: string) =>
      store.stat(of, { signal }).catch((error) => {
        // S3 denies what is not there to who may not list.
        if (!isMillraceError(error, "MILLRACE_NOT_FOUND") && !isMillraceError(error, "MILLRACE_PERMISSION")) throw error;
      });
    const there = await facts(path);
    if (there === undefined) return;
    const written = await facts(place.path);
    if (written === undefined) this.#metadata.forget(store, place.path);
    if (written === undefined || Number(there.lastModified ?? 0) > Number(written.lastModified ?? 0)) return;
    if (store.remove === undefined) throw new MillraceError("MILLRACE_PERMISSION", `${path}: this store cannot remove objects`);
    const shards = (await this.#indexAt({ ...place, path }, signal))?.shards ?? [];
    await this.remove(
      place,
      [path, ...shards].filter((one) => !own.has(one)),
      signal,
    );
  }

  /** Removes the checkpoints of the series that are older than its `keep` newest. */
  async #removeOlder(place: Place, keep: number, signal: AbortSignal): Promise<void> {
    const series = seriesOf(place.path)!;
    const paths: string[] = [];
    for await (const { path } of place.store.list(series.prefix, { signal })) paths.push(path);
    for (const path of olderThan(series, keep, paths)) {
      const shards = (await this.#indexAt({ ...place, path }, signal))?.shards ?? [];
      // The index first: half a checkpoint is none.
      await this.remove(place, [path, ...shards], signal);
      this.removed++;
    }
  }

  #left(place: Place, error: unknown): void {
    this.#log("warn", { uri: uriOf(place), error: String(error) }, "Older checkpoints could not be removed");
  }
}

/** Whether the index is of a save of these files, and of no other: names of shards are drawn anew for each. */
function isIndexOf(files: readonly SaveTarget[], index: Index | undefined): index is Index {
  const shards = files.slice(0, -1);
  return index !== undefined && shards.length > 0 && shards.every(({ place }) => index.shards.includes(place.path));
}

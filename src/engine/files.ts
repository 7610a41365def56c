/** Whole objects, read and written through the caches: what `mill.readFile`, `writeFile`, `open` and `materialize` do. */
import { type ObjectVersion, objectVersion } from "../blocks/object-version.js";
import type { MetadataCache } from "../cache/metadata-cache.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { isMillraceError, MillraceError } from "../errors.js";
import type { StoredObject } from "../storage/store.js";
import { ProgressMeter } from "../util/progress-meter.js";
import { eachPart, type Piece, planParts, readPieces } from "./bulk-read.js";
import { Copies, type LocalPath } from "./copies.js";
import { type Mounts, type Place, publicInfo, uriOf } from "./mounts.js";
import type { PendingVersions } from "./pending-versions.js";
import type { CallContext } from "./rpc.js";
import type { Saves } from "./saves.js";
import type { SavesContext } from "./saves-context.js";

/** What a write keeps in hand for the cache: longer ones are in the cache once they are read. */
const MOST_WRITTEN_THROUGH = 64 * 2 ** 20;

export interface ReadRequest {
  readonly path: string;
  readonly begin: number | undefined;
  readonly end: number | undefined;
  /** The version to read; undefined is the current one. */
  readonly version: StoredObject | undefined;
}
/** Several ranges of one version, in ascending order, into one stretch of memory. */
export interface PiecesRequest {
  readonly path: string;
  readonly version: StoredObject;
  readonly pieces: readonly Piece[];
  /** Of that memory. */
  readonly byteLength: number;
}

export interface FileStats {
  readonly reads: number;
  readonly bytes: number;
  readonly reading: number;
}

export class Files {
  readonly #mounts: Mounts;
  readonly #metadata: MetadataCache;
  readonly #cache: BlockCache;
  readonly #pending: PendingVersions;
  readonly #saves: Saves;
  readonly #copies: Copies;
  readonly #stats = { reads: 0, bytes: 0, reading: 0 };

  /** `copyRoot`: where copies go; the first cache directory, which is chosen for its speed and space. Default: the system's. */
  constructor({ mounts, metadata, cache, pending }: SavesContext, saves: Saves, copyRoot: string | undefined) {
    this.#mounts = mounts;
    this.#metadata = metadata;
    this.#cache = cache;
    this.#pending = pending;
    this.#saves = saves;
    this.#copies = new Copies(copyRoot, (object, context, write) =>
      eachPart(cache, object, planParts([{ begin: 0, end: object.size, at: 0 }]), context, async ({ begin }, lease) => {
        for (const block of lease.leases) {
          const from = Math.max(begin, block.begin);
          const to = Math.min(block.begin + block.bytes.byteLength, lease.end);
          if (to > from) await write(block.bytes.subarray(from - block.begin, to - block.begin), from);
        }
      }),
    );
  }

  stats(): FileStats {
    return this.#stats;
  }

  /** `fresh`: as the origin says now, unless it was written here. */
  async stat(path: string, fresh: boolean | undefined, signal: AbortSignal): Promise<StoredObject> {
    const place = await this.#mounts.resolve(path);
    return publicInfo(
      place,
      this.#pendingAt(place, path)?.stored ?? (await this.#metadata.stat(place.store, place.path, { signal, fresh })),
    );
  }

  read({ path, version, ...range }: ReadRequest, context: CallContext): Promise<Uint8Array<ArrayBuffer>> {
    return this.#current(path, version, context.signal, async (object) => {
      const begin = range.begin ?? 0;
      const end = range.end ?? object.size;
      if (!(Number.isSafeInteger(begin) && Number.isSafeInteger(end) && 0 <= begin && begin <= end && end <= object.size))
        throw new MillraceError("MILLRACE_CONFIG", `begin, end: ${begin} to ${end} is no range of the ${object.size} bytes of ${path}`, {
          uri: object.uri,
        });
      return this.#read(object, [{ begin, end, at: 0 }], end - begin, context);
    });
  }

  readPieces({ path, version, pieces, byteLength }: PiecesRequest, context: CallContext): Promise<Uint8Array<ArrayBuffer>> {
    return this.#current(path, version, context.signal, (object) => this.#read(object, pieces, byteLength, context));
  }

  write(path: string, parts: AsyncIterable<Uint8Array>, size: number | undefined, context: CallContext): Promise<StoredObject> {
    return this.#saves.write(path, context.signal, (place) => this.#write(path, place, parts, size, context));
  }

  /** A local path with the object's bytes; every call needs a `dropCopy` of its own. */
  materialize(path: string, context: CallContext): Promise<LocalPath> {
    return this.#current(path, undefined, context.signal, async (object) =>
      object.store.uri === "file://" ? { path: `/${object.stored.path}`, id: "" } : this.#copies.take(object, context),
    );
  }

  dropCopy(id: string): Promise<void> {
    return this.#copies.drop(id);
  }

  close(): Promise<void> {
    return this.#copies.close();
  }

  async #write(
    path: string,
    place: Place,
    parts: AsyncIterable<Uint8Array>,
    size: number | undefined,
    context: CallContext,
  ): Promise<StoredObject> {
    if (place.readOnly || place.store.write === undefined)
      throw new MillraceError("MILLRACE_PERMISSION", `${path}: ${place.readOnly ? "the mount is read-only" : "this store cannot write"}`, {
        uri: place.store.uri,
      });
    if (place.path === "") throw new MillraceError("MILLRACE_CONFIG", `${path}: names no object: give a path below it`);
    const meter = new ProgressMeter((progress) => context.progress(progress));
    meter.expect(1, size ?? 0);
    let kept: Uint8Array[] | undefined = [];
    let bytes = 0;
    const teed = async function* () {
      for await (const part of parts) {
        bytes += part.byteLength;
        if (bytes > MOST_WRITTEN_THROUGH) kept = undefined;
        kept?.push(part);
        if (size === undefined) meter.expect(0, part.byteLength);
        yield part;
        meter.did(0, part.byteLength);
      }
    };
    let stored: StoredObject;
    try {
      stored = await place.store.write(place.path, teed(), { signal: context.signal, size });
    } finally {
      // A write that failed may still have taken place: its answer may be what was lost.
      this.#metadata.forget(place.store, place.path);
    }
    if (kept !== undefined) await this.#cache.put(objectVersion(place.store, stored, place.rules), 0, Buffer.concat(kept));
    meter.did(1, 0);
    meter.report();
    return publicInfo(place, stored);
  }

  async #read(object: ObjectVersion, pieces: readonly Piece[], byteLength: number, context: CallContext): Promise<Uint8Array<ArrayBuffer>> {
    this.#stats.reading++;
    try {
      const bytes = await readPieces(this.#cache, object, pieces, byteLength, context);
      this.#stats.reads++;
      for (const { begin, end } of pieces) this.#stats.bytes += end - begin;
      return bytes;
    } finally {
      this.#stats.reading--;
    }
  }

  /** Throws MILLRACE_NOT_FOUND where the checkpoint of this name has another form, once it is uploaded. */
  #pendingAt(place: Place, path: string): ObjectVersion | undefined {
    if (this.#pending.isReplaced(place))
      throw new MillraceError("MILLRACE_NOT_FOUND", `${path}: was saved anew, in its other form`, { uri: uriOf(place) });
    return this.#pending.find(place);
  }

  /** What is known of an object may be old: where the origin has another version by now, that one is used, unless `version` was asked for. */
  async #current<T>(
    path: string,
    version: StoredObject | undefined,
    signal: AbortSignal,
    use: (object: ObjectVersion) => Promise<T>,
  ): Promise<T> {
    const place = await this.#mounts.resolve(path);
    const object = async () => {
      const pending = version === undefined ? this.#pendingAt(place, path) : this.#pending.find(place, version.etag);
      if (pending !== undefined) return pending;
      const stored = version ?? (await this.#metadata.stat(place.store, place.path, { signal }));
      return objectVersion(place.store, { ...stored, path: place.path }, place.rules);
    };
    try {
      return await use(await object());
    } catch (error) {
      if (version !== undefined || !isMillraceError(error, "MILLRACE_CHANGED")) throw error;
      return use(await object());
    }
  }
}

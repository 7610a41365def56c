/** Whole objects, read and written through the caches: what `mill.readFile`, `writeFile`, `open` and `materialize` do. */
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import pLimit from "p-limit";
import { type ObjectVersion, objectVersion } from "../blocks/object-version.js";
import type { MetadataCache } from "../cache/metadata-cache.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import type { StoredObject } from "../storage/store.js";
import { combinedSignal } from "../util/combined-signal.js";
import { uninitializedBuffer } from "../util/copy-bytes.js";
import { ProgressMeter } from "../util/progress-meter.js";
import { type Mounts, type Place, publicInfo } from "./mounts.js";
import type { CallContext } from "./rpc.js";

/** One ranged GET's worth, and how many of them one file has in flight: 64 MiB hide 30 ms at 2 GB/s. */
const PART_BYTES = 8 * 2 ** 20;
const PARTS_AT_ONCE = 8;
/** What a write keeps in hand for the cache: longer ones are in the cache once they are read. */
const MOST_WRITTEN_THROUGH = 64 * 2 ** 20;

export interface ReadRequest {
  readonly path: string;
  readonly begin: number | undefined;
  readonly end: number | undefined;
  /** The version to read; undefined is the current one. */
  readonly version: StoredObject | undefined;
}

interface Copy {
  readonly made: Promise<{ readonly path: string; readonly remove: () => Promise<void> }>;
  users: number;
}

export class Files {
  readonly #mounts: Mounts;
  readonly #metadata: MetadataCache;
  readonly #cache: BlockCache;
  /** Where copies go: beside the first cache directory, which is chosen for its speed and space. */
  readonly #copyRoot: string;
  readonly #copies = new Map<string, Copy>();

  constructor(mounts: Mounts, metadata: MetadataCache, cache: BlockCache, copyRoot: string | undefined) {
    this.#mounts = mounts;
    this.#metadata = metadata;
    this.#cache = cache;
    this.#copyRoot = copyRoot ?? tmpdir();
  }

  async stat(path: string, signal: AbortSignal): Promise<StoredObject> {
    const place = await this.#mounts.resolve(path);
    return publicInfo(place, await this.#metadata.stat(place.store, place.path, { signal }));
  }

  async read(request: ReadRequest, context: CallContext): Promise<Uint8Array<ArrayBuffer>> {
    const { object } = await this.#object(request.path, request.version, context.signal);
    const begin = request.begin ?? 0;
    const end = request.end ?? object.size;
    if (!(Number.isSafeInteger(begin) && Number.isSafeInteger(end) && 0 <= begin && begin <= end && end <= object.size))
      throw new MillraceError(
        "MILLRACE_CONFIG",
        `begin, end: ${begin} to ${end} is no range of the ${object.size} bytes of ${request.path}`,
        { uri: object.uri },
      );
    const bytes = new Uint8Array(uninitializedBuffer(end - begin));
    await this.#parts(object, begin, end, context, async (at, lease) =>
      lease.copyTo(at, bytes.subarray(at - begin, Math.min(end, at + PART_BYTES) - begin)),
    );
    return bytes;
  }

  async write(path: string, parts: AsyncIterable<Uint8Array>, size: number | undefined, context: CallContext): Promise<StoredObject> {
    const place = await this.#mounts.resolve(path);
    if (place.readOnly || place.store.write === undefined)
      throw new MillraceError("MILLRACE_PERMISSION", `${path}: ${place.readOnly ? "the mount is read-only" : "this store cannot write"}`, {
        uri: place.store.uri,
      });
    const meter = new ProgressMeter((progress) => context.progress(progress));
    meter.expect(1, size ?? 0);
    const kept: Uint8Array[] = [];
    let keptBytes = 0;
    const teed = async function* () {
      for await (const part of parts) {
        if (keptBytes <= MOST_WRITTEN_THROUGH) kept.push(part);
        keptBytes += part.byteLength;
        if (size === undefined) meter.expect(0, part.byteLength);
        meter.did(0, part.byteLength);
        yield part;
      }
    };
    const stored = await place.store.write(place.path, teed(), { signal: context.signal, size });
    this.#metadata.forget(place.store, place.path);
    if (keptBytes <= MOST_WRITTEN_THROUGH) await this.#cache.put(objectVersion(place.store, stored, place.rules), 0, Buffer.concat(kept));
    meter.did(1, 0);
    meter.report();
    return publicInfo(place, stored);
  }

  /** A local path with the object's bytes; every call needs a `dropCopy` of its own. */
  async materialize(path: string, context: CallContext): Promise<{ readonly path: string; readonly id: string }> {
    const { object } = await this.#object(path, undefined, context.signal);
    if (object.store.uri === "file://") return { path: `/${object.stored.path}`, id: "" };
    let copy = this.#copies.get(object.id);
    if (copy === undefined) {
      copy = { made: this.#copy(object, context), users: 0 };
      this.#copies.set(object.id, copy);
      copy.made.catch(() => this.#copies.delete(object.id));
    }
    copy.users++;
    return { path: (await copy.made).path, id: object.id };
  }

  async dropCopy(id: string): Promise<void> {
    const copy = this.#copies.get(id);
    if (copy === undefined || --copy.users > 0) return;
    this.#copies.delete(id);
    await (await copy.made).remove();
  }

  async close(): Promise<void> {
    const copies = [...this.#copies.values()];
    this.#copies.clear();
    await Promise.allSettled(copies.map(async (copy) => (await copy.made).remove()));
  }

  async #object(path: string, version: StoredObject | undefined, signal: AbortSignal): Promise<{ place: Place; object: ObjectVersion }> {
    const place = await this.#mounts.resolve(path);
    const stored =
      version === undefined ? await this.#metadata.stat(place.store, place.path, { signal }) : { ...version, path: place.path };
    return { place, object: objectVersion(place.store, stored, place.rules) };
  }

  async #copy(object: ObjectVersion, context: CallContext): Promise<{ path: string; remove: () => Promise<void> }> {
    const folder = await mkdtemp(join(this.#copyRoot, "millrace-copy-"));
    const remove = () => rm(folder, { recursive: true, force: true });
    try {
      const path = join(folder, basename(object.stored.path));
      const file = await open(path, "wx");
      try {
        await this.#parts(object, 0, object.size, context, async (at, lease) => {
          for (const block of lease.leases) {
            const from = Math.max(at, block.begin);
            const to = Math.min(block.begin + block.bytes.byteLength, at + PART_BYTES, object.size);
            if (to > from) await file.write(block.bytes, from - block.begin, to - from, from);
          }
        });
      } finally {
        await file.close();
      }
      return { path, remove };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  /** Reads [begin, end) in parts, several at once, each handed to `use` while it is held. */
  async #parts(
    object: ObjectVersion,
    begin: number,
    end: number,
    context: CallContext,
    use: (at: number, lease: Awaited<ReturnType<BlockCache["acquire"]>>) => Promise<void>,
  ): Promise<void> {
    const meter = new ProgressMeter((progress) => context.progress(progress));
    meter.expect(1, end - begin);
    const limit = pLimit(PARTS_AT_ONCE);
    const abort = new AbortController();
    const signal = combinedSignal(context.signal, abort.signal);
    const part = async (at: number) => {
      const lease = await this.#cache.acquire(object, at, Math.min(end, at + PART_BYTES), { priority: 0, signal });
      try {
        await use(at, lease);
      } finally {
        lease.release();
      }
      meter.did(0, lease.end - lease.begin);
    };
    const starts = Array.from({ length: Math.ceil((end - begin) / PART_BYTES) }, (_, i) => begin + i * PART_BYTES);
    // The first failure ends the other parts, and is the one that is told; all have ended before it is.
    await Promise.all(starts.map((at) => limit(() => (signal.aborted ? undefined : part(at))).catch((error) => abort.abort(error))));
    if (abort.signal.aborted) throw abort.signal.reason;
    throwIfAborted(context.signal, "Reading");
    meter.did(1, 0);
    meter.report();
  }
}

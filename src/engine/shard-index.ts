/** The record index of a shard: read from the metadata cache where it was built before, else built through the block cache and kept. */
import type { ObjectVersion } from "../blocks/object-version.js";
import type { MetadataCache } from "../cache/metadata-cache.js";
import type { BlockCache, SpanLease } from "../cache/tier-chain.js";
import { isMillraceError } from "../errors.js";
import type { RecordFormat, RecordIndex, ShardReader } from "../formats/format.js";
import { decodeIndex, encodeIndex } from "../formats/index-codec.js";
import type { StoredObject } from "../storage/store.js";
import { ownBytes } from "../util/copy-bytes.js";

/** Index reads run ahead of any loop: they are what the caller of `dataset` waits for. */
const PRIORITY = 0;

export interface IndexRequest {
  readonly object: ObjectVersion;
  readonly format: RecordFormat;
  readonly onError: "throw" | "skip";
  readonly maxRecordBytes: number;
  /** The object beside the shard, or undefined where there is none. */
  readonly sidecar: (path: string) => Promise<{ readonly object: ObjectVersion } | undefined>;
  readonly signal: AbortSignal | undefined;
}

export class ShardIndexes {
  readonly #cache: BlockCache;
  readonly #metadata: MetadataCache;

  constructor(cache: BlockCache, metadata: MetadataCache) {
    this.#cache = cache;
    this.#metadata = metadata;
  }

  async index(request: IndexRequest): Promise<RecordIndex> {
    const { object, format } = request;
    const key = `index-${format.name}-${object.id}`;
    const kept = await this.#metadata.blob(key);
    const known = kept === undefined ? undefined : decodeIndex(kept);
    if (known !== undefined) return known;
    const reader = new CacheReader(this.#cache, request);
    try {
      const index = await format.index(reader);
      // One with damage is not kept: the next open may be strict, or the shard mended in place.
      if (index.damage === undefined) this.#metadata.putBlob(key, encodeIndex(index));
      return index;
    } finally {
      reader.release();
    }
  }
}

/** Ranged reads of one shard through the cache; holds the last span until the next read. */
class CacheReader implements ShardReader {
  readonly path: string;
  readonly uri: string;
  readonly size: number;
  readonly signal: AbortSignal | undefined;
  readonly maxRecordBytes: number;
  readonly onError: "throw" | "skip";
  readonly #cache: BlockCache;
  readonly #request: IndexRequest;
  #lease: SpanLease | undefined;

  constructor(cache: BlockCache, request: IndexRequest) {
    this.#cache = cache;
    this.#request = request;
    this.path = request.object.stored.path;
    this.uri = request.object.uri;
    this.size = request.object.size;
    this.signal = request.signal;
    this.maxRecordBytes = request.maxRecordBytes;
    this.onError = request.onError;
  }

  async read(begin: number, end: number): Promise<Uint8Array> {
    this.release();
    const from = Math.min(begin, this.size);
    const to = Math.min(end, this.size);
    if (from === to) return new Uint8Array(0);
    this.#lease = await this.#cache.acquire(this.#request.object, from, to, {
      priority: PRIORITY,
      ...(this.signal && { signal: this.signal }),
    });
    return this.#lease.view(from, to);
  }

  async sidecar(path: string): Promise<Uint8Array | undefined> {
    const found = await this.#request.sidecar(path);
    if (found === undefined) return undefined;
    try {
      const lease = await this.#cache.acquire(found.object, 0, found.object.size, {
        priority: PRIORITY,
        ...(this.signal && { signal: this.signal }),
      });
      try {
        return ownBytes(lease.view(0, found.object.size));
      } finally {
        lease.release();
      }
    } catch (error) {
      // A sidecar only saves time: one that cannot be read is as good as none.
      if (isMillraceError(error, "MILLRACE_ABORTED")) throw error;
      return undefined;
    }
  }

  release(): void {
    this.#lease?.release();
    this.#lease = undefined;
  }
}

/** Sidecars that a listing has shown; no request is spent on asking for one that is not there. */
export function sidecarsOf(objects: readonly { readonly stored: StoredObject }[]): ReadonlySet<string> {
  return new Set(objects.map(({ stored }) => stored.path).filter((path) => /\.(idx|index)$/.test(path)));
}

/** What is known of objects: facts, listings, that they do not exist; and blobs made from them (manifests, record indexes), also on disk. */
import { createHash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { isMillraceError } from "../errors.js";
import type { Store, StoredObject } from "../storage/store.js";
import { Listing, type ListResult, objectBytes } from "./listing.js";
import { SharedCalls } from "./shared-call.js";

/** Where blobs are kept; a directory of the disk tier has one. */
export interface BlobFiles {
  read(hash: string): Promise<Uint8Array | undefined>;
  write(hash: string, bytes: Uint8Array): Promise<boolean>;
}

export interface MetadataCacheOptions {
  /** How long facts and listings are believed. */
  readonly ttlMs: number;
  /** Memory for all of it together, roughly counted. */
  readonly memoryBytes: number;
  /** Blobs are kept in the first. Pass `cache.disk?.directories ?? []`. */
  readonly directories: readonly { readonly meta: BlobFiles }[];
  /** Milliseconds on a steady clock; for tests. */
  readonly now?: (() => number) | undefined;
}

export interface MetadataStats {
  /** Facts answered from memory, from listings included. */
  readonly statHits: number;
  /** Facts asked of the origin. */
  readonly statRequests: number;
  /** Times that an object was known not to exist. */
  readonly negativeHits: number;
  /** Listings answered from memory, or read along with one under way. */
  readonly listHits: number;
  /** Listings asked of the origin. */
  readonly listRequests: number;
  readonly blobMemoryHits: number;
  readonly blobDiskHits: number;
  readonly blobMisses: number;
  /** Entries held in memory. */
  readonly entries: number;
  /** Bytes of memory they take, roughly. */
  readonly bytes: number;
}

/** An object that was just missing may just be being written. */
const MAX_NEGATIVE_MS = 5_000;
/** One entry, listing or blob takes at most this part of the memory, so that it does not push out all the others. */
const MAX_PART = 1 / 4;
const ENTRY_BYTES = 200;

type Entry =
  | { readonly kind: "object"; readonly object: StoredObject; readonly written?: boolean }
  | { readonly kind: "missing"; readonly error: Error }
  | { readonly kind: "list"; readonly list: ListResult }
  | { readonly kind: "blob"; readonly bytes: Uint8Array };

interface StatOptions {
  readonly signal?: AbortSignal | undefined;
  readonly fresh?: boolean | undefined;
}

interface Place {
  readonly uri: string;
  readonly path: string;
}

export class MetadataCache {
  readonly #options: MetadataCacheOptions;
  readonly #entries: LRUCache<string, Entry>;
  /** What each listing held in memory is of. */
  readonly #lists = new Map<string, Place>();
  readonly #calls = new SharedCalls<StoredObject>();
  readonly #walks = new Map<string, Listing>();
  readonly #counts = {
    statHits: 0,
    statRequests: 0,
    negativeHits: 0,
    listHits: 0,
    listRequests: 0,
    blobMemoryHits: 0,
    blobDiskHits: 0,
    blobMisses: 0,
  };

  constructor(options: MetadataCacheOptions) {
    this.#options = options;
    const { now } = options;
    // No `max`: lru-cache would set aside memory for that many at once.
    this.#entries = new LRUCache<string, Entry>({
      maxSize: Math.max(1, options.memoryBytes),
      maxEntrySize: Math.max(1, Math.floor(options.memoryBytes * MAX_PART)),
      ttlResolution: 0,
      dispose: (_entry, key) => this.#lists.delete(key),
      ...(now === undefined ? {} : { perf: { now } }),
    });
  }

  /**
   * Facts of one object. Throws what the store throws; that an object does not exist is believed for 5 s at most. `fresh`: they are asked of the
   * origin, but for what was written here.
   */
  async stat(store: Store, path: string, options: StatOptions = {}): Promise<StoredObject> {
    const key = keyOf("object", store.uri, path);
    const entry = this.#entries.get(key);
    if (options.fresh && !(entry?.kind === "object" && entry.written))
      return this.#calls.run(key, options.signal, (signal, current) => this.#ask(store, path, key, signal, current));
    if (entry?.kind === "missing") {
      this.#counts.negativeHits++;
      throw entry.error;
    }
    const known = entry?.kind === "object" ? entry.object : this.#listed(store.uri, path);
    if (known !== undefined) {
      this.#counts.statHits++;
      return known;
    }
    return this.#calls.run(key, options.signal, (signal, current) => this.#ask(store, path, key, signal, current));
  }

  /** Every object below the prefix, as `Store.list`. A whole listing that fits is kept, and answers `stat` too. */
  async *list(store: Store, prefix: string, options: { readonly signal?: AbortSignal | undefined } = {}): AsyncGenerator<StoredObject> {
    const key = keyOf("list", store.uri, prefix);
    const entry = this.#entries.get(key);
    if (entry?.kind === "list") {
      this.#counts.listHits++;
      yield* entry.list.objects;
      return;
    }
    let walk = this.#walks.get(key);
    if (walk?.joinable === true) this.#counts.listHits++;
    else walk = this.#walk(store, prefix, key);
    try {
      yield* walk.read(options.signal);
    } finally {
      if (walk.unread && this.#walks.get(key) === walk) this.#walks.delete(key);
    }
  }

  /** A blob by its key, from memory or disk. The bytes are the cache's own: not to be written. */
  async blob(key: string): Promise<Uint8Array | undefined> {
    const entry = this.#entries.get(`blob\n${key}`);
    if (entry?.kind === "blob") {
      this.#counts.blobMemoryHits++;
      return entry.bytes;
    }
    const bytes = await this.#options.directories[0]?.meta.read(hashOf(key));
    if (bytes === undefined) this.#counts.blobMisses++;
    else {
      this.#counts.blobDiskHits++;
      this.#keepBlob(key, bytes);
    }
    return bytes;
  }

  /** Keeps a blob in memory, and on disk where there is one; resolves when it is written. Best effort. The key names a version: blobs do not age. */
  async putBlob(key: string, bytes: Uint8Array): Promise<void> {
    this.#keepBlob(key, bytes);
    await this.#options.directories[0]?.meta.write(hashOf(key), bytes);
  }

  /** Forgets one object, and the listings it is or should be in: after a write, or MILLRACE_CHANGED. */
  forget(store: Store, path: string): void {
    this.#entries.delete(keyOf("object", store.uri, path));
    this.#calls.forget((key) => key === keyOf("object", store.uri, path));
    this.#dropLists(store.uri, (prefix) => path.startsWith(prefix));
  }

  /** What is known of an object that was written here. */
  learn(store: Store, object: StoredObject): void {
    this.forget(store, object.path);
    this.#keep(
      keyOf("object", store.uri, object.path),
      { kind: "object", object, written: true },
      objectBytes(object),
      this.#options.ttlMs,
    );
  }

  /** Forgets everything below the prefix; returns the entries dropped. */
  invalidate(store: Store, prefix: string): number {
    const below = keyOf("object", store.uri, prefix);
    let dropped = 0;
    for (const key of [...this.#entries.keys()]) if (key.startsWith(below) && this.#entries.delete(key)) dropped++;
    this.#calls.forget((key) => key.startsWith(below));
    return dropped + this.#dropLists(store.uri, (listed) => listed.startsWith(prefix) || prefix.startsWith(listed));
  }

  stats(): MetadataStats {
    return { ...this.#counts, entries: this.#entries.size, bytes: this.#entries.calculatedSize };
  }

  async #ask(store: Store, path: string, key: string, signal: AbortSignal, current: () => boolean): Promise<StoredObject> {
    this.#counts.statRequests++;
    try {
      const object = await store.stat(path, { signal });
      if (current()) this.#keep(key, { kind: "object", object }, objectBytes(object), this.#options.ttlMs);
      return object;
    } catch (error) {
      if (isMillraceError(error, "MILLRACE_NOT_FOUND") && current())
        this.#keep(key, { kind: "missing", error }, 0, Math.min(MAX_NEGATIVE_MS, this.#options.ttlMs));
      throw error;
    }
  }

  #walk(store: Store, prefix: string, key: string): Listing {
    this.#counts.listRequests++;
    const walk = new Listing(store, prefix, this.#options.memoryBytes * MAX_PART, (list) => {
      // Forgotten meanwhile: those who read go on, but it is not kept.
      if (this.#walks.get(key) !== walk) return;
      this.#walks.delete(key);
      this.#keep(key, { kind: "list", list }, list.bytes, this.#options.ttlMs);
      if (this.#entries.has(key)) this.#lists.set(key, { uri: store.uri, path: prefix });
    });
    this.#walks.set(key, walk);
    return walk;
  }

  #listed(uri: string, path: string): StoredObject | undefined {
    for (const [key, place] of this.#lists) {
      if (place.uri !== uri || !path.startsWith(place.path)) continue;
      const entry = this.#entries.get(key);
      const found = entry?.kind === "list" ? find(entry.list.objects, path) : undefined;
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #dropLists(uri: string, matches: (prefix: string) => boolean): number {
    let dropped = 0;
    for (const [key, place] of [...this.#lists]) if (place.uri === uri && matches(place.path) && this.#entries.delete(key)) dropped++;
    const walks = keyOf("list", uri, "");
    for (const key of [...this.#walks.keys()]) if (key.startsWith(walks) && matches(key.slice(walks.length))) this.#walks.delete(key);
    return dropped;
  }

  #keepBlob(key: string, bytes: Uint8Array): void {
    this.#keep(`blob\n${key}`, { kind: "blob", bytes }, bytes.length, Number.POSITIVE_INFINITY);
  }

  /** What is too large is not kept. */
  #keep(key: string, entry: Entry, bytes: number, ttlMs: number): void {
    // lru-cache reads a TTL of 0 as none.
    if (ttlMs > 0) this.#entries.set(key, entry, { size: ENTRY_BYTES + key.length + bytes, ttl: Number.isFinite(ttlMs) ? ttlMs : 0 });
  }
}

/** The object of that path in a listing, which is in the order of the paths' UTF-8 bytes. */
function find(objects: readonly StoredObject[], path: string): StoredObject | undefined {
  const wanted = Buffer.from(path);
  let low = 0;
  for (let high = objects.length; low < high; ) {
    const middle = (low + high) >>> 1;
    if (Buffer.compare(Buffer.from(objects[middle]!.path), wanted) < 0) low = middle + 1;
    else high = middle;
  }
  return objects[low]?.path === path ? objects[low] : undefined;
}

function keyOf(kind: "object" | "list", uri: string, path: string): string {
  return `${kind}\n${uri}\n${path}`;
}

function hashOf(key: string): string {
  return createHash("sha256").update(key).digest("hex").slice(0, 32);
}

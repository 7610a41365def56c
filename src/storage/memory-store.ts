import { MillraceError, throwIfAborted } from "../errors.js";
import { compareUtf8 } from "../util/utf8-order.js";
import { releasedParts } from "./released-parts.js";
import type { ListOptions, ReadOptions, Store, StoredObject, WriteOptions } from "./store.js";
import { TargetWriter, targetBytes } from "./targets.js";

interface Entry {
  readonly stored: StoredObject;
  readonly bytes: Uint8Array;
}

/** The objects of each `memory://name`, shared by all stores of that name in this thread. */
const shared = new Map<string, Map<string, Entry>>();
let versions = 0;

/** A store of the given name in this thread's memory, for tests and small data made on the spot. Threads do not see each other's. */
export function memoryStore(name = "default"): MemoryStore {
  return new MemoryStore(name);
}

export class MemoryStore implements Store {
  readonly uri: string;
  readonly #entries: Map<string, Entry>;

  constructor(name: string) {
    this.uri = `memory://${name}`;
    this.#entries = shared.get(name) ?? new Map();
    shared.set(name, this.#entries);
  }

  async *list(prefix: string, { signal, startAfter }: ListOptions = {}): AsyncIterable<StoredObject> {
    const paths = [...this.#entries.keys()].filter((path) => path.startsWith(prefix)).sort(compareUtf8);
    for (const path of paths) {
      throwIfAborted(signal, "The listing");
      const entry = this.#entries.get(path);
      if (entry !== undefined && (startAfter === undefined || compareUtf8(path, startAfter) > 0)) yield entry.stored;
    }
  }

  async stat(path: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<StoredObject> {
    throwIfAborted(options.signal, "The stat");
    return this.#entry(path).stored;
  }

  async readInto(
    object: StoredObject,
    begin: number,
    targets: readonly Uint8Array[],
    { signal, claim, progress }: ReadOptions = {},
  ): Promise<void> {
    throwIfAborted(signal, "The read");
    const { stored, bytes } = this.#entry(object.path);
    const end = begin + targetBytes(targets);
    if (stored.etag !== object.etag || end > stored.size)
      throw new MillraceError("MILLRACE_CHANGED", `${this.uri}/${object.path}: the object has changed since it was listed`, {
        uri: `${this.uri}/${object.path}`,
        range: { begin, end },
      });
    if (end === begin || claim?.() === false) return;
    new TargetWriter(targets).write(bytes.subarray(begin, end));
    if (progress !== undefined) progress.received += end - begin;
  }

  async write(path: string, parts: AsyncIterable<Uint8Array>, { signal, onProgress, release }: WriteOptions = {}): Promise<StoredObject> {
    throwIfAborted(signal, "The write");
    const copies: Uint8Array[] = [];
    let size = 0;
    for await (const part of releasedParts(parts, release)) {
      throwIfAborted(signal, "The write");
      copies.push(part.slice());
      size += part.length;
      onProgress?.(size);
    }
    const stored = { path, size, etag: `"${++versions}"`, lastModified: new Date() };
    this.#entries.set(path, { stored, bytes: Buffer.concat(copies) });
    return stored;
  }

  async remove(path: string, { signal }: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    throwIfAborted(signal, "The removal");
    this.#entries.delete(path);
  }

  #entry(path: string): Entry {
    const entry = this.#entries.get(path);
    if (entry === undefined)
      throw new MillraceError("MILLRACE_NOT_FOUND", `${this.uri}/${path}: no such object`, { uri: `${this.uri}/${path}` });
    return entry;
  }
}

import type { BigIntStats } from "node:fs";
import { type FileHandle, open, rm, stat } from "node:fs/promises";
import { MillraceError, throwIfAborted } from "../errors.js";
import { fileError } from "./file-errors.js";
import { listFiles } from "./file-list.js";
import { writeFileWhole } from "./file-write.js";
import type { ListOptions, ReadOptions, Store, StoredObject, WriteOptions } from "./store.js";
import { skipTargets, targetBytes } from "./targets.js";

/** Longest single read: an abort is honoured between two, and libuv's thread is not held for seconds on a slow disk. */
const READ_BYTES = 8 * 2 ** 20;

/**
 * Files of this machine. Paths are relative to `root`, a folder (default: `/`, so that `file:///a/b` is the path `a/b`).
 * The etag is made of inode, modification time and size. Names with `.`, `..` or empty segments are refused with MILLRACE_CONFIG.
 */
export class FileStore implements Store {
  readonly uri: string;
  readonly #root: string;

  constructor(root = "/") {
    this.#root = root.replace(/\/+$/, "");
    this.uri = `file://${this.#root}`;
  }

  async *list(prefix: string, options: ListOptions = {}): AsyncIterable<StoredObject> {
    throwIfAborted(options.signal, "The listing");
    for await (const { path, stats } of listFiles(this.#root, prefix, options)) yield storedFile(path, stats);
  }

  async stat(path: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<StoredObject> {
    throwIfAborted(options.signal, "The stat");
    const name = this.#name(path);
    try {
      const stats = await stat(name, { bigint: true });
      if (!stats.isFile()) throw Object.assign(new Error("not a file"), { code: "EISDIR" });
      return storedFile(path, stats);
    } catch (error) {
      throw fileError(error, { uri: this.#uri(path) });
    }
  }

  async readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], options: ReadOptions = {}): Promise<void> {
    const range = { begin, end: begin + targetBytes(targets) };
    const subject = { uri: this.#uri(object.path), range };
    throwIfAborted(options.signal, `The read of ${subject.uri}`);
    if (range.end === range.begin) return;
    let handle: FileHandle | undefined;
    try {
      handle = await open(this.#name(object.path), "r");
      await this.#checkVersion(handle, object, range);
      throwIfAborted(options.signal, `The read of ${subject.uri}`);
      if (options.claim?.() === false) return;
      await this.#fill(handle, object, range.begin, targets, options);
      // A writer that came meanwhile has left a mixture of two versions.
      await this.#checkVersion(handle, object, range);
    } catch (error) {
      throw fileError(error, subject);
    } finally {
      await handle?.close();
    }
  }

  async write(path: string, parts: AsyncIterable<Uint8Array>, options: WriteOptions = {}): Promise<StoredObject> {
    throwIfAborted(options.signal, "The write");
    try {
      return storedFile(path, await writeFileWhole(this.#name(path), parts, options));
    } catch (error) {
      throw fileError(error, { uri: this.#uri(path) });
    }
  }

  async remove(path: string, options: { readonly signal?: AbortSignal | undefined } = {}): Promise<void> {
    throwIfAborted(options.signal, "The removal");
    try {
      await rm(this.#name(path), { force: true });
    } catch (error) {
      throw fileError(error, { uri: this.#uri(path) });
    }
  }

  async #fill(
    handle: FileHandle,
    object: StoredObject,
    begin: number,
    targets: readonly Uint8Array[],
    options: ReadOptions,
  ): Promise<void> {
    let rest = targets;
    let position = begin;
    while (rest.length > 0) {
      throwIfAborted(options.signal, `The read of ${this.#uri(object.path)}`);
      const { bytesRead } = await handle.readv(firstBytes(rest, READ_BYTES), position);
      if (bytesRead === 0) throw this.#changed(object, { begin, end: position });
      position += bytesRead;
      if (options.progress !== undefined) options.progress.received += bytesRead;
      rest = skipTargets(rest, bytesRead);
    }
  }

  async #checkVersion(handle: FileHandle, object: StoredObject, range: { begin: number; end: number }): Promise<void> {
    const stats = await handle.stat({ bigint: true });
    if (!stats.isFile()) throw Object.assign(new Error("not a file"), { code: "EISDIR" });
    if (etagOf(stats) !== object.etag || range.end > Number(stats.size)) throw this.#changed(object, range);
  }

  #changed(object: StoredObject, range: { begin: number; end: number }): MillraceError {
    const uri = this.#uri(object.path);
    return new MillraceError("MILLRACE_CHANGED", `${uri}: the file has changed since it was listed; open it again`, {
      uri,
      range,
    });
  }

  #uri(path: string): string {
    return `${this.uri}/${path}`;
  }

  #name(path: string): string {
    if (path.split("/").some((segment) => segment === "" || segment === "." || segment === ".."))
      throw new MillraceError("MILLRACE_CONFIG", `${this.#uri(path)}: a file's path must not have empty, "." or ".." segments`);
    return `${this.#root}/${path}`;
  }
}

function storedFile(path: string, stats: BigIntStats): StoredObject {
  return { path, size: Number(stats.size), etag: etagOf(stats), lastModified: new Date(Number(stats.mtimeMs)) };
}

function etagOf(stats: BigIntStats): string {
  return `"${stats.ino.toString(36)}-${stats.mtimeNs.toString(36)}-${stats.size.toString(36)}"`;
}

/** The first `limit` bytes of the targets. */
function firstBytes(targets: readonly Uint8Array[], limit: number): Uint8Array[] {
  const first: Uint8Array[] = [];
  let left = limit;
  for (const target of targets) {
    if (left === 0) break;
    first.push(target.length <= left ? target : target.subarray(0, left));
    left -= Math.min(left, target.length);
  }
  return first;
}

/** Local copies of objects, for libraries that only take a file name: one a version, shared and counted. */
import { type FileHandle, mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, extname, join } from "node:path";
import type { ObjectVersion } from "../blocks/object-version.js";
import { abortedError, MillraceError, throwIfAborted } from "../errors.js";
import { fileError } from "../storage/file-errors.js";
import { deferred } from "../util/deferred.js";
import { writeAll } from "../util/write-all.js";
import type { CallContext } from "./rpc.js";

/** Longest file name that the usual file systems take, bytes. */
const LONGEST_NAME = 255;

export interface LocalPath {
  readonly path: string;
  /** For `drop`; empty where there is nothing to drop. */
  readonly id: string;
}

/** Reads the whole object and hands over its pieces, in any order. */
export type ReadPieces = (
  object: ObjectVersion,
  context: CallContext,
  write: (bytes: Uint8Array, at: number) => Promise<void>,
) => Promise<void>;

interface Copy {
  readonly made: Promise<{ readonly path: string; readonly remove: () => Promise<void> }>;
  readonly abort: AbortController;
  /** Those who wait for it, and are told how it gets on. */
  readonly watchers: Set<CallContext>;
  users: number;
}

export class Copies {
  readonly #root: string;
  readonly #read: ReadPieces;
  readonly #copies = new Map<string, Copy>();
  #closed = false;

  constructor(root: string | undefined, read: ReadPieces) {
    this.#root = root ?? tmpdir();
    this.#read = read;
  }

  /** A user more of the object's copy. One who leaves while it is being made does not end it for the others. */
  async take(object: ObjectVersion, context: CallContext): Promise<LocalPath> {
    if (this.#closed) throw new MillraceError("MILLRACE_CLOSED", "The mill is closed");
    throwIfAborted(context.signal, "The copy");
    const copy = this.#copies.get(object.id) ?? this.#start(object);
    copy.users++;
    copy.watchers.add(context);
    const left = deferred<never>();
    const leave = () => left.reject(abortedError(context.signal, "The copy"));
    context.signal.addEventListener("abort", leave, { once: true });
    try {
      return { path: (await Promise.race([copy.made, left.promise])).path, id: object.id };
    } catch (error) {
      await this.#leave(object.id, copy);
      throw error;
    } finally {
      context.signal.removeEventListener("abort", leave);
      copy.watchers.delete(context);
    }
  }

  /** A user less; the last one removes it. */
  async drop(id: string): Promise<void> {
    const copy = this.#copies.get(id);
    if (copy !== undefined) await this.#leave(id, copy);
  }

  /** Removes all; those being made end with MILLRACE_CLOSED. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#copies].map(([id, copy]) => this.#end(id, copy)));
  }

  async #leave(id: string, copy: Copy): Promise<void> {
    if (--copy.users === 0) await this.#end(id, copy);
  }

  async #end(id: string, copy: Copy): Promise<void> {
    if (this.#copies.get(id) === copy) this.#copies.delete(id);
    copy.abort.abort();
    const made = await copy.made.catch(() => undefined); // One that failed has removed itself.
    await made?.remove();
  }

  #start(object: ObjectVersion): Copy {
    const abort = new AbortController();
    const watchers = new Set<CallContext>();
    const progress = (value: unknown) => {
      for (const watcher of watchers) watcher.progress(value);
    };
    const made = this.#make(object, { signal: abort.signal, progress });
    const copy = { made, abort, watchers, users: 0 };
    this.#copies.set(object.id, copy);
    // The next who asks tries again.
    made.catch(() => this.#copies.get(object.id) === copy && this.#copies.delete(object.id));
    return copy;
  }

  async #make(object: ObjectVersion, context: CallContext): Promise<{ path: string; remove: () => Promise<void> }> {
    let folder: string | undefined;
    let file: FileHandle | undefined;
    const remove = async () => {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    };
    try {
      folder = await mkdtemp(join(this.#root, "millrace-copy-"));
      const path = join(folder, fileName(object));
      const opened = await open(path, "wx");
      file = opened;
      await this.#read(object, context, async (bytes, at) => writeAll(opened, bytes, at));
      await opened.close();
      return { path, remove };
    } catch (error) {
      await file?.close();
      await remove();
      throw fileError(error, { uri: `file://${folder ?? this.#root}` });
    }
  }
}

/** The object's own name where it can be a file's: some libraries go by the extension. */
function fileName({ store, stored }: ObjectVersion): string {
  const name = basename(/^https?:/.test(store.uri) ? stored.path.replace(/[?#].*$/s, "") : stored.path);
  if (name === "" || name === "." || name === ".." || name.includes("\0")) return "object";
  if (Buffer.byteLength(name) <= LONGEST_NAME) return name;
  const extension = extname(name);
  return Buffer.byteLength(extension) < LONGEST_NAME / 2 ? `object${extension}` : "object";
}

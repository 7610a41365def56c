/**
 * A store of our own, as a module that the mill loads in its engine thread: objects packed end to end in one local file.
 *
 *   u32 length of the index, the index as JSON ([{ path, begin, size, etag }, …] sorted by path), then the objects' bytes
 *
 * A store knows names and bytes and nothing else. Caching, read-ahead, retries, formats and shuffling come from the mill.
 */
import { type FileHandle, open } from "node:fs/promises";
import { MillraceError } from "millrace";
import type { Store, StoredObject } from "millrace/testing";

export interface PackEntry {
  readonly path: string;
  /** Offset of the object's first byte, counted from the end of the index. */
  readonly begin: number;
  readonly size: number;
  /** Of these bytes and no others: what is cached of an object stays good for as long as this is the same. */
  readonly etag: string;
}

/** Paths in the order that a store's list has to have: of their UTF-8 bytes. */
export const byBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

/** Called once for each root, here `pack://any-name`; `args` is what stands beside the module's URL in `stores`. */
export default async function packStore(args: unknown, { uri }: { readonly uri: string }): Promise<Store> {
  const { file } = args as { file: string };
  const handle = await open(file);
  const { first, index } = await readIndex(handle);
  const entries = new Map(index.map((entry) => [entry.path, entry]));
  const { mtime } = await handle.stat();
  const describe = ({ path, size, etag }: PackEntry): StoredObject => ({ path, size, etag, lastModified: mtime });

  function find(path: string): PackEntry {
    const entry = entries.get(path);
    if (entry === undefined) throw new MillraceError("MILLRACE_NOT_FOUND", `${uri}/${path} is not in the pack`);
    return entry;
  }
  function goOn(signal: AbortSignal | undefined): void {
    if (signal?.aborted) throw new MillraceError("MILLRACE_ABORTED", `${uri}: reading was aborted`, { cause: signal.reason });
  }
  return {
    uri,
    async *list(prefix, { signal, startAfter } = {}) {
      for (const entry of entries.values()) {
        goOn(signal);
        if (entry.path.startsWith(prefix) && (startAfter === undefined || byBytes(entry.path, startAfter) > 0)) yield describe(entry);
      }
    },
    async stat(path, { signal } = {}) {
      goOn(signal);
      return describe(find(path));
    },
    async readInto(object, begin, targets, { signal, claim, progress } = {}) {
      goOn(signal);
      const entry = find(object.path);
      const bytes = targets.reduce((sum, target) => sum + target.length, 0);
      if (object.etag !== entry.etag || begin + bytes > entry.size)
        throw new MillraceError("MILLRACE_CHANGED", `${uri}/${object.path} is another version now`);
      // Another request for the same bytes may have been first: then the targets are not ours to write.
      if (claim?.() === false) return;
      let position = first + entry.begin + begin;
      for (const target of targets) {
        goOn(signal);
        const { bytesRead } = await handle.read(target, 0, target.length, position);
        if (bytesRead < target.length) throw new MillraceError("MILLRACE_CORRUPT", `${file} ends in the middle of ${object.path}`);
        position += bytesRead;
        if (progress) progress.received += bytesRead;
      }
    },
    close: () => handle.close(),
  };
}

/** The entries, and the offset in the file where the objects begin. */
async function readIndex(handle: FileHandle): Promise<{ first: number; index: PackEntry[] }> {
  const head = Buffer.alloc(4);
  await handle.read(head, 0, 4, 0);
  const text = Buffer.alloc(head.readUInt32LE());
  await handle.read(text, 0, text.length, 4);
  return { first: 4 + text.length, index: JSON.parse(text.toString("utf8")) as PackEntry[] };
}

/** A store as a user would write one, in memory, with none of this library's helpers but the error it must throw. */
import { MillraceError } from "../../src/errors.js";
import type { ReadOptions, Store, StoredObject } from "../../src/storage/store.js";

export function open(args: unknown, { uri }: { readonly uri: string }): Store {
  const { name } = args as { name: string };
  const objects = new Map<string, { bytes: Buffer; etag: string }>();
  let versions = 0;
  const get = (path: string) => {
    const found = objects.get(path);
    if (found === undefined) throw new MillraceError("MILLRACE_NOT_FOUND", `${name}: ${path} is not here`);
    return found;
  };
  const check = (signal: AbortSignal | undefined) => {
    if (signal?.aborted) throw Object.assign(new Error("stopped"), { name: "AbortError" });
  };
  const describe = (path: string): StoredObject => {
    const { bytes, etag } = get(path);
    return { path, size: bytes.length, etag, lastModified: undefined };
  };
  return {
    uri,
    async *list(prefix, { signal, startAfter = "" } = {}) {
      const after = Buffer.from(startAfter);
      const paths = [...objects.keys()].filter((path) => path.startsWith(prefix)).map((path) => Buffer.from(path));
      for (const path of paths.sort(Buffer.compare)) {
        check(signal);
        if (Buffer.compare(path, after) > 0) yield describe(path.toString());
      }
    },
    // Not async on purpose: what it throws must be understood as well.
    stat(path, { signal } = {}) {
      check(signal);
      return Promise.resolve(describe(path));
    },
    async readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], { signal, claim, progress }: ReadOptions = {}) {
      check(signal);
      const { bytes, etag } = get(object.path);
      const wanted = targets.reduce((sum, target) => sum + target.length, 0);
      if (etag !== object.etag || begin + wanted > bytes.length) throw new MillraceError("MILLRACE_CHANGED", `${object.path} has changed`);
      if (wanted === 0 || claim?.() === false) return;
      let at = begin;
      for (const target of targets) at += bytes.copy(target, 0, at, at + target.length);
      if (progress !== undefined) progress.received += wanted;
    },
    async write(path, parts, { signal, onProgress } = {}) {
      const copies: Buffer[] = [];
      let size = 0;
      for await (const part of parts) {
        check(signal);
        copies.push(Buffer.from(part));
        size += part.length;
        onProgress?.(size);
      }
      objects.set(path, { bytes: Buffer.concat(copies), etag: `v${++versions}` });
      return describe(path);
    },
    async remove(path, { signal } = {}) {
      check(signal);
      objects.delete(path);
    },
  };
}

/** What a caller may name as a dataset or a set of objects, and which objects that is: a prefix, a file, a brace pattern, a glob, or a list of these. */
import { braceExpand, Minimatch } from "minimatch";
import pLimit from "p-limit";
import type { MetadataCache } from "../cache/metadata-cache.js";
import { isMillraceError, MillraceError } from "../errors.js";
import type { StoredObject } from "../storage/store.js";
import type { Mounts, Place } from "./mounts.js";

/** An object and where it was found. */
export interface FoundObject {
  readonly place: Place;
  readonly stored: StoredObject;
  /** Found by a listing, which would have shown its sidecars too. */
  readonly listed: boolean;
}

/** HEADs in flight while a list of names is looked up; the limiter of the stores still holds for all together. */
const STATS_AT_ONCE = 32;
/** A pattern of more names than this is a mistake, and would take memory before anyone noticed. */
const MOST_NAMES = 1_000_000;

/** Told of a name that leads to no object, and why. */
type Failed = (name: string, error: unknown) => void;
interface Find {
  readonly signal: AbortSignal | undefined;
  readonly failed: Failed | undefined;
}

export class Sources {
  readonly #mounts: Mounts;
  readonly #metadata: MetadataCache;

  constructor(mounts: Mounts, metadata: MetadataCache) {
    this.#mounts = mounts;
    this.#metadata = metadata;
  }

  /**
   * Every object that `source` names, in ascending order of path for prefixes and globs, as given for lists. Throws MILLRACE_NOT_FOUND where a
   * part names none; with `failed`, that is told of each name that leads nowhere, and the rest is found.
   */
  async find(source: string | readonly string[], signal: AbortSignal | undefined, failed?: Failed): Promise<FoundObject[]> {
    const parts = typeof source === "string" ? [source] : source;
    if (parts.length === 0) throw new MillraceError("MILLRACE_CONFIG", "source: an empty list names no data");
    const find = { signal, failed };
    // One look-up after another would cost a round trip each; names without patterns are the common long list.
    const limit = pLimit(STATS_AT_ONCE);
    const found = await Promise.all(parts.map((part) => limit(() => this.#safe(part, find, () => this.#part(part, find)))));
    return found.flat();
  }

  /** What lies below the prefix: the objects of that folder and its folders or, where there is none, the object of this name. */
  async *below(prefix: string, signal: AbortSignal | undefined): AsyncGenerator<FoundObject, void, undefined> {
    yield* this.at(await this.#mounts.resolve(prefix), signal);
  }

  /** The same, of a place. */
  async *at(place: Place, signal: AbortSignal | undefined): AsyncGenerator<FoundObject, void, undefined> {
    let empty = true;
    for await (const stored of this.#metadata.list(place.store, folderOf(place.path), { signal })) {
      empty = false;
      yield { place, stored, listed: true };
    }
    if (!empty || place.path === "" || place.path.endsWith("/")) return;
    const one = await this.#one(place, signal).catch(ifNotFound);
    if (one !== undefined) yield one;
  }

  /** The result of `work`, or none where the failure is to be told rather than thrown. */
  async #safe(name: string, { signal, failed }: Find, work: () => Promise<FoundObject[]>): Promise<FoundObject[]> {
    try {
      return await work();
    } catch (error) {
      if (failed === undefined || signal?.aborted || isMillraceError(error, "MILLRACE_CLOSED")) throw error;
      failed(name, error);
      return [];
    }
  }

  async #part(source: string, find: Find): Promise<FoundObject[]> {
    const { signal } = find;
    // In a URL these characters have a meaning of their own, as in the query of a signed one.
    const url = /^https?:/i.test(source);
    if (!url && /[*?[]/.test(source)) return this.#glob(source, signal);
    if (/\{[^}]*(,|\.\.)[^}]*\}/.test(source)) return this.#braces(source, find);
    const place = await this.#mounts.resolve(source);
    if (!listable(place)) return [await this.#one(place, signal)];
    // A name with an extension is most likely one object, and a HEAD is cheaper than a listing that finds nothing.
    if (/\.[A-Za-z0-9]+$/.test(place.path)) {
      const one = await this.#one(place, signal).catch(ifNotFound);
      if (one !== undefined) return [one];
    }
    const found = await collect(this.below(source, signal));
    if (found.length > 0) return found;
    throw new MillraceError("MILLRACE_NOT_FOUND", `${source}: there are no objects below this prefix, and no object of this name`, {
      uri: `${place.store.uri}/${place.path}`,
    });
  }

  async #glob(source: string, signal: AbortSignal | undefined): Promise<FoundObject[]> {
    const special = source.search(/[*?[{]/);
    const fixed = Math.max(source.slice(0, special).lastIndexOf("/"), source.slice(0, special).lastIndexOf(":")) + 1;
    const place = await this.#mounts.resolve(source.slice(0, fixed).replace(/(?<=[^/:])\/$/, ""));
    if (!listable(place))
      throw new MillraceError(
        "MILLRACE_CONFIG",
        `${source}: this store cannot be listed, so a glob cannot be used; give a list or a brace pattern`,
      );
    const prefix = folderOf(place.path);
    const rest = source.slice(fixed);
    const pattern = new Minimatch(rest, { nocomment: true, nonegate: true, braceExpandMax: MOST_NAMES });
    const found: FoundObject[] = [];
    for await (const stored of this.#metadata.list(place.store, prefix, { signal })) {
      const path = stored.path.slice(prefix.length);
      // An object may have a name that looks like a pattern.
      if (path === rest || pattern.match(path)) found.push({ place, stored, listed: true });
    }
    if (found.length === 0) throw new MillraceError("MILLRACE_NOT_FOUND", `${source}: no object matches this pattern`);
    return found;
  }

  async #braces(source: string, find: Find): Promise<FoundObject[]> {
    const names = braceExpand(source, { braceExpandMax: MOST_NAMES });
    const lost: [string, unknown][] = [];
    const failed = find.failed && ((name: string, error: unknown) => void lost.push([name, error]));
    try {
      const found = await this.#names(names, { ...find, failed });
      if (found.length === 0) throw lost[0]![1];
      for (const [name, error] of lost) find.failed?.(name, error);
      return found;
    } catch (error) {
      // An object may have a name that looks like a pattern.
      const one = await this.#one(await this.#mounts.resolve(source), find.signal).catch(() => undefined);
      if (one !== undefined) return [one];
      if (lost.length === 0) throw error;
      for (const [name, why] of lost) find.failed?.(name, why);
      return [];
    }
  }

  async #names(names: readonly string[], find: Find): Promise<FoundObject[]> {
    const limit = pLimit(STATS_AT_ONCE);
    const one = async (name: string) => [await this.#one(await this.#mounts.resolve(name), find.signal)];
    try {
      return (await Promise.all(names.map((name) => limit(() => this.#safe(name, find, () => one(name)))))).flat();
    } finally {
      limit.clearQueue(); // After a failure nobody wants the rest.
    }
  }

  async #one(place: Place, signal: AbortSignal | undefined): Promise<FoundObject> {
    return { place, stored: await this.#metadata.stat(place.store, place.path, { signal }), listed: false };
  }
}

/** The path as a prefix that does not match its siblings: `a/` does not match `ab`. */
function folderOf(path: string): string {
  return path === "" || path.endsWith("/") ? path : `${path}/`;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

function listable(place: Place): boolean {
  return !/^https?:/.test(place.store.uri);
}

function ifNotFound(error: unknown): undefined {
  if (isMillraceError(error, "MILLRACE_NOT_FOUND")) return undefined;
  throw error;
}

/** What a caller may name as a dataset or a set of objects, and which objects that is: a prefix, a file, a brace pattern, a glob, or a list of these. */
import { braceExpand, Minimatch, minimatch } from "minimatch";
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

export class Sources {
  readonly #mounts: Mounts;
  readonly #metadata: MetadataCache;

  constructor(mounts: Mounts, metadata: MetadataCache) {
    this.#mounts = mounts;
    this.#metadata = metadata;
  }

  /** Every object that `source` names, in ascending order of path for prefixes and globs, as given for lists. Throws MILLRACE_NOT_FOUND where a part names none. */
  async find(source: string | readonly string[], signal: AbortSignal | undefined): Promise<FoundObject[]> {
    const parts = typeof source === "string" ? [source] : source;
    if (parts.length === 0) throw new MillraceError("MILLRACE_CONFIG", "source: an empty list names no data");
    // One look-up after another would cost a round trip each; names without patterns are the common long list.
    const limit = pLimit(STATS_AT_ONCE);
    const found = await Promise.all(
      parts.map((part) => (parts.length === 1 ? this.#part(part, signal) : limit(() => this.#part(part, signal)))),
    );
    return found.flat();
  }

  async #part(source: string, signal: AbortSignal | undefined): Promise<FoundObject[]> {
    if (/[*?[]/.test(source)) return this.#glob(source, signal);
    if (/\{[^}]*(,|\.\.)[^}]*\}/.test(source)) return this.#names(braceExpand(source, { braceExpandMax: MOST_NAMES }), signal);
    const place = await this.#mounts.resolve(source);
    if (!listable(place)) return [await this.#one(place, signal)];
    // A name with an extension is most likely one object, and a HEAD is cheaper than a listing that finds nothing.
    if (/\.[A-Za-z0-9]+$/.test(place.path)) {
      const one = await this.#one(place, signal).catch(ifNotFound);
      return one === undefined ? this.#prefix(place, source, signal) : [one];
    }
    return this.#prefix(place, source, signal);
  }

  async #prefix(place: Place, source: string, signal: AbortSignal | undefined): Promise<FoundObject[]> {
    const prefix = place.path === "" || place.path.endsWith("/") ? place.path : `${place.path}/`;
    const found = await this.#list(place, prefix, signal);
    if (found.length > 0) return found;
    const one = place.path === "" ? undefined : await this.#one(place, signal).catch(ifNotFound);
    if (one !== undefined) return [one];
    throw new MillraceError("MILLRACE_NOT_FOUND", `${source}: there are no objects below this prefix, and no object of this name`, {
      uri: `${place.store.uri}/${prefix}`,
    });
  }

  async #glob(source: string, signal: AbortSignal | undefined): Promise<FoundObject[]> {
    const fixed = source.slice(0, source.search(/[*?[{]/)).lastIndexOf("/") + 1;
    const place = await this.#mounts.resolve(source.slice(0, fixed).replace(/(?<=[^/:])\/$/, ""));
    if (!listable(place))
      throw new MillraceError(
        "MILLRACE_CONFIG",
        `${source}: this store cannot be listed, so a glob cannot be used; give a list or a brace pattern`,
      );
    const prefix = place.path === "" || place.path.endsWith("/") ? place.path : `${place.path}/`;
    const pattern = new Minimatch(minimatch.escape(prefix) + source.slice(fixed), {
      nocomment: true,
      nonegate: true,
      braceExpandMax: MOST_NAMES,
    });
    const found = (await this.#list(place, prefix, signal)).filter(({ stored }) => pattern.match(stored.path));
    if (found.length === 0) throw new MillraceError("MILLRACE_NOT_FOUND", `${source}: no object matches this pattern`);
    return found;
  }

  async #list(place: Place, prefix: string, signal: AbortSignal | undefined): Promise<FoundObject[]> {
    const found: FoundObject[] = [];
    for await (const stored of this.#metadata.list(place.store, prefix, { signal })) found.push({ place, stored, listed: true });
    return found;
  }

  async #names(names: readonly string[], signal: AbortSignal | undefined): Promise<FoundObject[]> {
    const limit = pLimit(STATS_AT_ONCE);
    return Promise.all(names.map((name) => limit(async () => this.#one(await this.#mounts.resolve(name), signal))));
  }

  async #one(place: Place, signal: AbortSignal | undefined): Promise<FoundObject> {
    return { place, stored: await this.#metadata.stat(place.store, place.path, { signal }), listed: false };
  }
}

function listable(place: Place): boolean {
  return !/^https?:/.test(place.store.uri);
}

function ifNotFound(error: unknown): undefined {
  if (isMillraceError(error, "MILLRACE_NOT_FOUND")) return undefined;
  throw error;
}

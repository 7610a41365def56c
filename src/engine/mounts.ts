/** From the paths a caller writes to the store that holds them: mounts by longest prefix, bare URIs as they are. */
import type { HoldRules } from "../blocks/object-version.js";
import { MillraceError } from "../errors.js";
import type { EngineConfig, MountConfig, WireS3 } from "../options.js";
import type { OriginStore } from "../storage/origin-store.js";
import type { StoredObject } from "../storage/store.js";
import { parseUri } from "../storage/uri.js";

/** A path, resolved. */
export interface Place {
  readonly store: OriginStore;
  /** The path below the store's root. */
  readonly path: string;
  readonly rules: HoldRules;
  readonly readOnly: boolean;
  /** What the caller would write for a path of the same store and mount. */
  publicPath(path: string): string;
}

type OpenStore = (root: string, s3: WireS3 | undefined) => Promise<OriginStore>;

export class Mounts {
  /** Longest prefix first. */
  readonly #mounts: readonly MountConfig[];
  readonly #s3: WireS3 | undefined;
  readonly #openStore: OpenStore;
  readonly #stores = new Map<string, Promise<OriginStore>>();
  readonly #opened = new Set<OriginStore>();
  #closed = false;
  /** Roots of URIs that needed no mount; of files, the folder: the root would be the whole machine. */
  readonly #bare = new Map<string, { readonly root: string; readonly path: string; readonly mount: undefined }>();
  readonly #rules = new Map<string, HoldRules>();

  constructor(config: EngineConfig, openStore: OpenStore) {
    // The options' check takes closing slashes off, and so leaves nothing of the root's own.
    const mounts = config.mounts.map((mount) => (mount.uri === "file:" ? { ...mount, uri: "file:///." } : mount));
    this.#mounts = mounts.sort((a, b) => b.prefix.length - a.prefix.length);
    this.#s3 = config.s3;
    this.#openStore = openStore;
  }

  /** Throws MILLRACE_CONFIG for a path that no mount holds, and what opening its store throws. */
  async resolve(path: string): Promise<Place> {
    const { uri, mount } = this.#locate(path);
    const { root, path: below } = parseUri(uri);
    if (mount === undefined) this.#remember(root, below);
    return this.#placeIn(await this.#store(root, mount?.s3 ?? this.#s3, mount), root, below, mount);
  }

  /** What the store of a path is opened on, and that of every other way to write it. Throws MILLRACE_CONFIG. */
  rootOf(path: string): string {
    return parseUri(this.#locate(path).uri).root;
  }

  #locate(path: string): { readonly uri: string; readonly mount: MountConfig | undefined } {
    // A scheme has two letters at least: C:\\data is a path.
    if (/^[a-z][a-z0-9+.-]+:/i.test(path)) return { uri: path, mount: undefined };
    const mount = this.#mounts.find(({ prefix }) => path === prefix || path.startsWith(`${prefix}/`));
    if (mount === undefined) {
      const known = this.#mounts.map(({ prefix }) => prefix).join(", ") || "none";
      throw new MillraceError(
        "MILLRACE_CONFIG",
        `${path}: no mount holds this path (mounts: ${known}); a URI needs none: s3://bucket/key, file:///data, or file:./data for a local folder`,
      );
    }
    return { uri: mount.uri + path.slice(mount.prefix.length), mount };
  }

  /**
   * The place of an object that a peer names, by its store's URI and its path: within a mount of this mill, or a root that was opened here
   * without one. Undefined where it is of neither, and where its path leads elsewhere by dots.
   */
  async covering(uri: string): Promise<Place | undefined> {
    if (!isPlain(uri)) return undefined;
    const mounts = this.#mounts.map((mount) => ({ ...parseUri(mount.uri), mount }));
    for (const { root, path, mount } of [...mounts, ...this.#bare.values()]) {
      const store = await this.#store(root, mount?.s3 ?? this.#s3, mount).catch(() => undefined);
      const below = path === "" ? "" : `${path.replace(/\/$/, "")}/`;
      if (store !== undefined && `${uri}/`.startsWith(`${store.uri}/${below}`))
        return this.#placeIn(store, root, uri.slice(store.uri.length + 1), mount);
    }
    return undefined;
  }

  /** A store that does not open is not waited for: it is closed if it does. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(Array.from(this.#opened, (store) => store.close?.()));
  }

  #remember(root: string, path: string): void {
    const below = root === "file://" ? path.slice(0, path.lastIndexOf("/") + 1) : "";
    this.#bare.set(`${root}/${below}`, { root, path: below, mount: undefined });
  }

  #placeIn(store: OriginStore, root: string, path: string, mount: MountConfig | undefined): Place {
    const below = mount === undefined ? undefined : parseUri(mount.uri).path;
    return {
      store,
      path,
      rules: this.#rulesOf(mount, root),
      readOnly: mount?.readOnly ?? false,
      publicPath: (other) =>
        mount === undefined || below === undefined ? `${root}/${other}` : mount.prefix + slashed(other.slice(below.length)),
    };
  }

  #store(root: string, s3: WireS3 | undefined, mount: MountConfig | undefined): Promise<OriginStore> {
    // Mounts with S3 options of their own may use other credentials for the same bucket: they get a client of their own.
    const id = `${mount?.s3 === undefined ? "" : mount.prefix} ${root}`;
    let store = this.#stores.get(id);
    if (store === undefined) {
      store = this.#openStore(root, s3);
      this.#stores.set(id, store);
      store.then(
        (opened) => {
          if (this.#closed) opened.close?.().catch(() => {});
          else this.#opened.add(opened);
        },
        () => this.#stores.delete(id),
      );
    }
    return store;
  }

  #rulesOf(mount: MountConfig | undefined, root: string): HoldRules {
    const name = mount?.prefix ?? root;
    let rules = this.#rules.get(name);
    if (rules === undefined) {
      rules = { mount: name, admission: mount?.admission ?? "pin", share: mount?.share ?? 1 };
      this.#rules.set(name, rules);
    }
    return rules;
  }
}

/** Whether a URI's path is what it says: no dots that lead elsewhere, nothing that an http client would write in another way. */
function isPlain(uri: string): boolean {
  if (/^https?:/i.test(uri)) return URL.canParse(uri) && new URL(uri).href === uri;
  if (!uri.startsWith("file:")) return true;
  return uri.startsWith("file:///") && parseUri(uri).path === uri.slice("file:///".length);
}

function slashed(path: string): string {
  return path === "" || path.startsWith("/") ? path : `/${path}`;
}

/** What the caller sees of an object. */
export function publicInfo(place: Place, stored: StoredObject): StoredObject {
  return { path: place.publicPath(stored.path), size: stored.size, etag: stored.etag, lastModified: stored.lastModified };
}

/** A place by the caller's name for it and by its own: the same whatever way it was written in. */
export function resolvedPath(place: Place): { readonly path: string; readonly uri: string } {
  return { path: place.publicPath(place.path), uri: uriOf(place) };
}

export function uriOf({ store, path }: Place): string {
  return `${store.uri}/${path}`;
}

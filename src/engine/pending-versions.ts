/** Objects that were saved here and are still to be uploaded: this mill reads them from their local files. */
import { basename, dirname } from "node:path";
import { type HoldRules, type ObjectVersion, objectVersion } from "../blocks/object-version.js";
import { isMillraceError, MillraceError } from "../errors.js";
import { FileStore } from "../storage/file-store.js";
import type { OriginReadOptions, OriginStore } from "../storage/origin-store.js";
import type { StoredObject } from "../storage/store.js";
import { unlessAborted } from "../util/unless-aborted.js";
import { compareUtf8 } from "../util/utf8-order.js";
import type { Place } from "./mounts.js";
import { otherForm } from "./save-series.js";

/** The local file is read at a disk's speed; a copy of it in the cache would be one of a version that is soon another. */
const RULES: HoldRules = { mount: "\0pending", admission: "lru", share: 0, local: true };
/** Versions that are uploaded, for those who opened them before: some 300 bytes each. */
const REMEMBERED = 1_000;

interface LocalCopy {
  readonly file: string;
  /** Unlike any of an origin's. */
  readonly etag: string;
  readonly savedMs: number;
  /** Throws MILLRACE_CORRUPT where it is not what was saved. */
  readonly check: () => Promise<void>;
}

/** A version that is in a local file, and at its origin later. */
export class PendingFile {
  readonly place: Place;
  readonly #pending: ObjectVersion;
  readonly #files: FileStore;
  readonly #local: StoredObject;
  readonly #check: () => Promise<void>;
  /** Of all of it, at the first read: who opens a checkpoint by its header is to know whether the rest is whole. */
  #checked: Promise<void> | undefined;
  #uploaded: ObjectVersion | undefined;

  private constructor(place: Place, stored: StoredObject, files: FileStore, local: StoredObject, check: () => Promise<void>) {
    this.place = place;
    this.#check = check;
    this.#files = files;
    this.#local = local;
    const { store } = place;
    const readInto: OriginStore["readInto"] = (_object, ...read) => this.#read(...read);
    this.#pending = objectVersion({ uri: store.uri, list: store.list, stat: store.stat, readInto }, stored, RULES);
  }

  /** Throws what reading the file's facts throws. */
  static async open(place: Place, { file, etag, savedMs, check }: LocalCopy): Promise<PendingFile> {
    const files = new FileStore(dirname(file));
    const local = await files.stat(basename(file));
    return new PendingFile(place, { path: place.path, size: local.size, etag, lastModified: new Date(savedMs) }, files, local, check);
  }

  /** The version to read now. */
  get object(): ObjectVersion {
    return this.#uploaded ?? this.#pending;
  }

  /** It is uploaded: whoever reads it yet, reads this. */
  becomes(stored: StoredObject): void {
    this.#uploaded = objectVersion(this.place.store, stored, this.place.rules);
  }

  /** What may pass by itself is tried again. */
  #whole(): Promise<void> {
    this.#checked ??= this.#check().catch((error) => {
      if (!isMillraceError(error, "MILLRACE_CORRUPT")) this.#checked = undefined;
      throw error;
    });
    return this.#checked;
  }

  #gone(cause: unknown): MillraceError {
    const { uri } = this.#pending;
    return new MillraceError("MILLRACE_CHANGED", `${uri}: the version that was read is not there any more: open it again`, { uri, cause });
  }

  async #read(begin: number, targets: readonly Uint8Array[], { priority, ...options }: OriginReadOptions = {}): Promise<void> {
    if (this.#uploaded === undefined)
      try {
        await unlessAborted(this.#whole(), options.signal, "The read");
        return await this.#files.readInto(this.#local, begin, targets, options);
      } catch (error) {
        if (!isMillraceError(error, "MILLRACE_NOT_FOUND")) throw error;
        if (this.#uploaded === undefined) throw this.#gone(error);
      }
    const urgency = priority === undefined ? {} : { priority };
    await this.place.store.readInto(this.#uploaded!.stored, begin, targets, { ...options, ...urgency });
  }
}

export class PendingVersions {
  /** The newest of each name, with the number of its save. */
  readonly #current = new Map<string, { readonly file: PendingFile; readonly number: number }>();
  readonly #byEtag = new Map<string, PendingFile>();

  /** `number`: grows with the saves of a name. */
  add(file: PendingFile, number: number): void {
    const { uri } = file.object;
    if (number >= (this.#current.get(uri)?.number ?? 0)) this.#current.set(uri, { file, number });
    this.#byEtag.set(file.object.stored.etag, file);
    for (const etag of this.#byEtag.keys()) {
      if (this.#byEtag.size <= REMEMBERED + this.#current.size) break;
      this.#byEtag.delete(etag);
    }
  }

  /** It is not to be uploaded any more: the name is its origin's. */
  remove(file: PendingFile): void {
    if (this.#current.get(file.object.uri)?.file === file) this.#current.delete(file.object.uri);
  }

  /** The version that a place has here before its origin has it, or the one that had this etag. */
  find({ store, path }: Place, etag?: string): ObjectVersion | undefined {
    const file = etag === undefined ? this.#current.get(`${store.uri}/${path}`)?.file : this.#byEtag.get(etag);
    return file?.object;
  }

  /** Whether what is at a place goes, here or at its origin, when what is pending is uploaded: the same checkpoint in its other form, saved later. */
  isReplaced({ store, path }: Pick<Place, "store" | "path">): boolean {
    const number = (form: string) => this.#current.get(`${store.uri}/${form}`)?.number ?? -1;
    const other = this.#current.size > 0 ? otherForm(path) : undefined;
    return other !== undefined && number(other) > number(path);
  }

  /** A listing of what lies below a place, with what is pending there: instead of what its origin has by these names. */
  async *among(place: Place, listed: AsyncIterable<{ readonly stored: StoredObject }>): AsyncGenerator<StoredObject, void, undefined> {
    const pending = this.#below(place);
    for await (const { stored } of listed) {
      while (pending.length > 0 && compareUtf8(pending[0]!.path, stored.path) < 0) yield pending.shift()!;
      if (pending[0]?.path === stored.path) yield pending.shift()!;
      else if (!this.isReplaced({ store: place.store, path: stored.path })) yield stored;
    }
    yield* pending;
  }

  #below({ store, path }: Place): StoredObject[] {
    const folder = path === "" || path.endsWith("/") ? path : `${path}/`;
    const files = Array.from(this.#current.values(), ({ file }) => file);
    const below = files.filter(
      ({ place }) => place.store.uri === store.uri && (place.path === path || place.path.startsWith(folder)) && !this.isReplaced(place),
    );
    return below.map(({ object }) => object.stored).sort((a, b) => compareUtf8(a.path, b.path));
  }
}

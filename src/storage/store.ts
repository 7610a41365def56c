/**
 * The seam to every origin. A store knows bytes and names; it knows nothing of blocks, caches or datasets.
 * Limits, retries and faults wrap this interface; none is a special case inside a store.
 */

/** What a store says of one object. `path` is the key below the store's root. */
export interface StoredObject {
  readonly path: string;
  readonly size: number;
  /** Identifies the version. A store without etags derives one (`file`: inode, mtime and size; `http`: Last-Modified). */
  readonly etag: string;
  readonly lastModified: Date | undefined;
}

/** Advanced by the store as bytes land in the targets, so that a retry can go on where the last try ended. */
export interface ReadProgress {
  received: number;
}

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called once, at the first valid response head. False: another request has won, end without touching the targets. */
  readonly claim?: (() => boolean) | undefined;
  readonly progress?: ReadProgress | undefined;
  /** For the limiter that wraps the store: lower goes first. 0 demand, 1 read-ahead, 2 and up prefetch. */
  readonly priority?: number | undefined;
}

export interface ListOptions {
  readonly signal?: AbortSignal | undefined;
  /** Only paths after this one: lets an interrupted listing go on. */
  readonly startAfter?: string | undefined;
}

export interface WriteOptions {
  readonly signal?: AbortSignal | undefined;
  /** Total size where known: lets a store choose one PUT over a multipart upload. */
  readonly size?: number | undefined;
  /** Called with the bytes that the origin has taken so far. */
  readonly onProgress?: ((bytes: number) => void) | undefined;
  /**
   * Given, a part stays as it is until it was handed to this, so that it can be sent without a copy; else until the next part is asked for.
   * Modules are not given it.
   */
  readonly release?: ((part: Uint8Array) => void) | undefined;
}

export interface Store {
  /** The root, with the endpoint where it is not the provider's own: part of every object's identity. No credentials. */
  readonly uri: string;
  /** Every object whose path begins with `prefix`, recursively, in ascending order of path (UTF-8 bytes). An empty result is not an error. */
  list(prefix: string, options?: ListOptions): AsyncIterable<StoredObject>;
  /** Throws MILLRACE_NOT_FOUND, MILLRACE_PERMISSION. */
  stat(path: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<StoredObject>;
  /**
   * Fills the targets, in order, with the bytes from `begin`, of this version only. One request; the targets are the only memory written.
   * Once the promise has settled the targets are not written any more, also after an abort.
   * Throws MILLRACE_CHANGED where the object is not `object.etag` any more, MILLRACE_NOT_FOUND, MILLRACE_PERMISSION,
   * and MILLRACE_UNAVAILABLE or MILLRACE_TIMEOUT where another try may help; with `retryAfterMs` where the origin asks for fewer requests.
   */
  readInto(object: StoredObject, begin: number, targets: readonly Uint8Array[], options?: ReadOptions): Promise<void>;
  /** Writes the whole object; it is visible only when whole. Absent on stores that cannot write. */
  write?(path: string, parts: AsyncIterable<Uint8Array>, options?: WriteOptions): Promise<StoredObject>;
  /** Removes the object; one that is not there is removed. Absent on stores that cannot. Throws MILLRACE_PERMISSION. */
  remove?(path: string, options?: { readonly signal?: AbortSignal | undefined }): Promise<void>;
  /** Ends sockets and other resources. */
  close?(): Promise<void>;
}

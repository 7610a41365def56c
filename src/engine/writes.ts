/** Writes in progress: parts come as calls, and each call is answered when there is room for the next. */
import { MillraceError } from "../errors.js";
import type { StoredObject } from "../storage/store.js";
import { combinedSignal } from "../util/combined-signal.js";
import { deferred } from "../util/deferred.js";
import type { Files } from "./files.js";
import type { CallContext } from "./rpc.js";

interface Write {
  readonly push: (bytes: Uint8Array | undefined) => Promise<void>;
  readonly abort: AbortController;
}

export class Writes {
  readonly #files: Files;
  readonly #open = new Map<number, Write>();

  constructor(files: Files) {
    this.#files = files;
  }

  /** Resolves when the object is whole at its origin. `id` is the caller's, which sends parts while this call is open. */
  async begin(
    request: { readonly id: number; readonly path: string; readonly size: number | undefined },
    context: CallContext,
  ): Promise<StoredObject> {
    const abort = new AbortController();
    const signal = combinedSignal(context.signal, abort.signal);
    const { push, parts } = partQueue(signal);
    this.#open.set(request.id, { push, abort });
    try {
      return await this.#files.write(request.path, parts, request.size, { signal, progress: (value) => context.progress(value) });
    } finally {
      this.#open.delete(request.id);
      abort.abort(); // A caller that still sends parts to a write that has failed must not wait.
    }
  }

  /** `bytes` undefined: that was the last part. Resolves when the store has taken it. */
  async part({ id, bytes }: { readonly id: number; readonly bytes: Uint8Array | undefined }): Promise<void> {
    // A write that has ended meanwhile says so itself, by the call that began it.
    await this.#open.get(id)?.push(bytes);
  }

  /** The caller's data failed: the object stays as it was. */
  abort(id: number): void {
    this.#open.get(id)?.abort.abort(new MillraceError("MILLRACE_ABORTED", "The data to be written ended with an error"));
  }
}

/** One part at a time from `push` to `parts`. */
function partQueue(signal: AbortSignal): { push: (bytes: Uint8Array | undefined) => Promise<void>; parts: AsyncIterable<Uint8Array> } {
  let offered = deferred<Uint8Array | undefined>();
  let taken = deferred<void>();
  signal.addEventListener(
    "abort",
    () => {
      offered.promise.catch(() => {});
      offered.reject(signal.reason);
      taken.resolve();
    },
    { once: true },
  );
  const push = async (bytes: Uint8Array | undefined) => {
    offered.resolve(bytes);
    await taken.promise;
  };
  async function* parts() {
    for (;;) {
      const bytes = await offered.promise;
      if (!signal.aborted) offered = deferred();
      const acknowledge = taken;
      taken = deferred();
      if (signal.aborted) throw signal.reason;
      if (bytes === undefined) {
        acknowledge.resolve();
        return;
      }
      yield bytes;
      acknowledge.resolve();
    }
  }
  return { push, parts: parts() };
}

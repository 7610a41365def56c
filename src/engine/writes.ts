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
  readonly ended: Promise<void>;
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
    const ended = deferred<void>();
    this.#open.set(request.id, { push, abort, ended: ended.promise });
    try {
      return await this.#files.write(request.path, parts, request.size, { signal, progress: (value) => context.progress(value) });
    } catch (error) {
      throw abort.signal.aborted ? abort.signal.reason : error;
    } finally {
      this.#open.delete(request.id);
      abort.abort(); // A caller that still sends parts to a write that has failed must not wait.
      ended.resolve();
    }
  }

  /** `bytes` undefined: that was the last part. Resolves when the store has taken it. */
  async part({ id, bytes }: { readonly id: number; readonly bytes: Uint8Array | undefined }): Promise<void> {
    // A write that has ended meanwhile says so itself, by the call that began it.
    await this.#open.get(id)?.push(bytes);
  }

  /** The caller's data failed: the object stays as it was. Resolves when the write has ended. */
  async abort(id: number): Promise<void> {
    await this.#end(id, new MillraceError("MILLRACE_ABORTED", "The data to be written ended with an error"));
  }

  /** Ends every write, so that none is left half done at its origin. */
  async close(): Promise<void> {
    const closed = new MillraceError("MILLRACE_CLOSED", "The mill was closed before the write had ended");
    await Promise.all([...this.#open.keys()].map((id) => this.#end(id, closed)));
  }

  async #end(id: number, reason: MillraceError): Promise<void> {
    const write = this.#open.get(id);
    write?.abort.abort(reason);
    await write?.ended;
  }
}

/** One part at a time from `push` to `parts`. `push` resolves when its part was used, or the signal has fired. */
function partQueue(signal: AbortSignal): { push: (bytes: Uint8Array | undefined) => Promise<void>; parts: AsyncIterable<Uint8Array> } {
  const aborted = deferred<never>();
  aborted.promise.catch(() => {});
  signal.addEventListener("abort", () => aborted.reject(signal.reason), { once: true });
  let offered = deferred<Uint8Array | undefined>();
  let taken = deferred<void>();
  const push = async (bytes: Uint8Array | undefined) => {
    offered.resolve(bytes);
    await Promise.race([taken.promise, aborted.promise]).catch(() => {});
  };
  async function* parts() {
    for (;;) {
      const bytes = await Promise.race([offered.promise, aborted.promise]);
      if (bytes !== undefined) yield bytes;
      const acknowledge = taken;
      offered = deferred();
      taken = deferred();
      acknowledge.resolve();
      if (bytes === undefined) return;
    }
  }
  return { push, parts: parts() };
}

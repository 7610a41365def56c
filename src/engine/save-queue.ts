/** Checkpoints on the local disk, on their way to their origins: one upload after the other, in the background. */
import { stat } from "node:fs/promises";
import pLimit from "p-limit";
import { isMillraceError, MillraceError } from "../errors.js";
import { type RetryPolicy, retried } from "../storage/retry.js";
import type { StoredObject } from "../storage/store.js";
import { deferred } from "../util/deferred.js";
import { unlessAborted } from "../util/unless-aborted.js";
import type { Place } from "./mounts.js";
import { PendingFile } from "./pending-versions.js";
import { type Entry, notUploaded, type QueuedSave, type Stranded } from "./save-entry.js";
import type { Journal } from "./save-journal.js";
import { isOutrun } from "./save-outrun.js";
import type { SavePart } from "./save-parts.js";
import type { SaveTarget } from "./save-target.js";
import type { Turn, Turns } from "./save-turns.js";
import type { SaveUploads } from "./save-upload.js";
import type { SavesContext } from "./saves-context.js";

/** Of a whole upload, whose requests are retried by themselves: some minutes in all. */
const UPLOAD_RETRY: RetryPolicy = { tries: 6, totalMs: 10 * 60_000, baseMs: 2_000, capMs: 60_000 };
/** What a closing mill gives uploads to end by themselves. */
const CLOSE_WITHIN_MS = 5_000;

export class SaveQueue {
  readonly #context: SavesContext;
  readonly #uploads: SaveUploads;
  readonly #turns: Turns;
  readonly #entries = new Map<Entry, Promise<void>>();
  #stranded: readonly Stranded[] = [];
  /** One at a time has the whole line: the first is done soonest. */
  readonly #line = pLimit(1);
  readonly #closing = new AbortController();
  /** Checkpoints that were uploaded. */
  uploaded = 0;

  constructor(context: SavesContext, uploads: SaveUploads, turns: Turns) {
    this.#context = context;
    this.#uploads = uploads;
    this.#turns = turns;
  }

  /** Resolves to the version under which the checkpoint can be read here, when it can; it is uploaded when its turn has come. */
  async add(save: QueuedSave): Promise<StoredObject> {
    const { spool, journal, files } = save;
    const open = ({ place }: SaveTarget, n: number) =>
      PendingFile.open(place, {
        file: spool.dataPath(n),
        etag: `"pending-${spool.id}-${n}"`,
        savedMs: journal.savedMs,
        check: () => spool.check(n, journal, this.#closing.signal),
      });
    const versions = await Promise.all(files.map(open));
    for (const version of versions) this.#context.pending.add(version, save.turn.number);
    const entry: Entry = {
      ...save,
      versions,
      done: { stored: [], replaced: journal.replaced ?? [] },
      failure: undefined,
      late: save.recovered,
    };
    this.#entries.set(entry, this.#run(entry, save.turn));
    return versions.at(-1)!.object.stored;
  }

  /** A save that an earlier process has left, and that is another mill's to upload, or nobody's. */
  strand(name: string, journal: string, error: unknown): void {
    this.#stranded = [...this.#stranded, { name, journal, error }];
    this.#context.log(
      "error",
      { path: name, journal, error: String(error) },
      "A saved checkpoint cannot be uploaded by this mill: it stays in the cache directory",
    );
  }

  /**
   * A save of this name is whole at its origin, and its turn not over: older ones are of no use any more, and are not being uploaded. Newer ones come
   * after it all the same, however late it is. The origin takes uploads: others of it that have failed are tried again.
   */
  async wasSaved({ name, number }: Turn, { store }: Place, etag: string): Promise<void> {
    const others = [...this.#entries.keys()].filter(({ turn }) => turn.name === name);
    for (const entry of others)
      if (entry.turn.number > number) await this.#note(entry, { earlier: [...(entry.journal.earlier ?? []), etag] });
    for (const entry of others) if (entry.turn.number < number) await this.#forget(entry);
    this.#tryAgain(({ files }) => files.at(-1)!.place.store.uri === store.uri);
  }

  /** Resolves when all that is queued is uploaded; what has failed is tried again before. Rejects with what keeps it from that. */
  async flush(): Promise<void> {
    this.#tryAgain(() => true);
    await this.settled();
  }

  /** The same, but that nothing is tried again for it. */
  async settled(): Promise<void> {
    for (const entry of [...this.#entries.keys()]) {
      let last: Promise<void> | undefined;
      // It may be tried again meanwhile.
      for (let run = this.#entries.get(entry); run !== last; run = this.#entries.get(entry)) {
        last = run;
        await run;
      }
    }
    // Another mill may have taken some of them up.
    const left = await Promise.all(this.#stranded.map(({ journal }) => stat(journal).catch(() => undefined)));
    this.#stranded = this.#stranded.filter((_, i) => left[i] !== undefined);
    const failed = [...this.#entries.keys()].flatMap(({ files, failure }) => (failure ? [{ name: files.at(-1)!.path, ...failure }] : []));
    if (failed.length + this.#stranded.length > 0) throw notUploaded([...failed, ...this.#stranded]);
    this.#closing.signal.throwIfAborted();
  }

  stats(): { pending: number; pendingBytes: number; failed: number } {
    const entries = [...this.#entries.keys()];
    const failed = entries.filter(({ failure }) => failure !== undefined).length;
    const sizes = entries.flatMap(({ files }) => files.map(({ size }) => size));
    return {
      pending: entries.length - failed,
      pendingBytes: sizes.reduce((sum, size) => sum + size, 0),
      failed: failed + this.#stranded.length,
    };
  }

  /** Resolves when the uploads have ended, or have had a moment to. */
  async settle(): Promise<void> {
    const late = deferred<void>();
    const timer = setTimeout(late.resolve, CLOSE_WITHIN_MS);
    await Promise.race([Promise.all(this.#entries.values()), late.promise]);
    clearTimeout(timer);
  }

  /** Ends the uploads; what is not uploaded stays on the disk for the next mill. */
  async close(): Promise<void> {
    this.#closing.abort(
      new MillraceError("MILLRACE_CLOSED", "The mill was closed before the checkpoint was uploaded; the next one goes on"),
    );
    await Promise.all(this.#entries.values());
    await Promise.all([...this.#entries.keys()].map(({ spool }) => spool.leave()));
  }

  /** In new turns, after all that was asked for before: whatever of these becomes whole makes older ones needless. */
  #tryAgain(which: (entry: Entry) => boolean): void {
    const failed = [...this.#entries.keys()].filter((entry) => entry.failure !== undefined && which(entry));
    for (const entry of failed.sort((a, b) => a.turn.number - b.turn.number)) {
      // A damaged copy does not mend.
      if (isMillraceError(entry.failure!.error, "MILLRACE_CORRUPT")) continue;
      entry.failure = undefined;
      entry.late = true;
      this.#entries.set(entry, this.#run(entry, this.#turns.take(entry.turn.name)));
    }
  }

  async #run(entry: Entry, turn: Turn): Promise<void> {
    const { signal } = this.#closing;
    try {
      await unlessAborted(turn.ready, signal, "The upload");
      if (!this.#entries.has(entry)) return;
      if (!(await entry.spool.own(signal))) return await this.#forsake(entry);
      await this.#line(() => retried(UPLOAD_RETRY, signal, () => this.#upload(entry)));
      this.uploaded++;
    } catch (error) {
      if (signal.aborted) return;
      if (!(await entry.spool.own(signal).catch(() => true))) return await this.#forsake(entry);
      entry.failure = { error };
      const fields = { path: entry.files.at(-1)!.path, error: String(error) };
      this.#context.log(
        "error",
        fields,
        "A saved checkpoint could not be uploaded: it stays in the cache directory, and is tried again by flush() and by the next mill",
      );
    } finally {
      turn.end();
    }
  }

  async #upload(entry: Entry): Promise<void> {
    const { spool, journal, files, done } = entry;
    const { cache, log } = this.#context;
    const { signal } = this.#closing;
    const { place } = files.at(-1)!;
    if (entry.late && (await isOutrun(place, journal, signal))) {
      log(
        "warn",
        { path: files.at(-1)!.path },
        "A checkpoint was saved anew elsewhere before an older one was uploaded: the newer one stays",
      );
    } else {
      const parts = (n: number) => this.#ownParts(entry, spool.parts(cache, n, journal));
      const onReplaced = async (replaced: readonly string[]) => {
        await this.#checkOwn(entry);
        await this.#note(entry, { replaced });
      };
      // Before its own journal goes, or a process that is killed between would leave an older one to be uploaded over it.
      const onWhole = ({ etag }: StoredObject) => this.wasSaved(entry.turn, place, etag);
      await this.#uploads.all(files, done, { keep: journal.keep, signal, parts, onReplaced, onWhole });
    }
    await this.#forget(entry);
  }

  /** Adds to a journal. Where the disk does not take that, the upload goes on: only a later mill does not know it. */
  async #note(entry: Entry, more: Pick<Journal, "earlier" | "replaced">): Promise<void> {
    entry.journal = { ...entry.journal, ...more };
    await entry.spool.commit(entry.journal).catch((error) => {
      const fields = { path: entry.files.at(-1)!.path, error: String(error) };
      this.#context.log("warn", fields, "The journal of a saved checkpoint could not be written again");
    });
  }

  /** The parts, if at their end, before the object is whole, they are still this process's to upload. */
  async *#ownParts(entry: Entry, parts: AsyncIterable<SavePart>): AsyncGenerator<SavePart, void, undefined> {
    yield* parts;
    await this.#checkOwn(entry);
  }

  /** Throws where another process has taken it over. */
  async #checkOwn({ spool, journal }: Entry): Promise<void> {
    if (!(await spool.own(this.#closing.signal)))
      throw new MillraceError("MILLRACE_ABORTED", `${journal.target}: another process has taken the upload over`);
  }

  /** Another process uploads it, or has. */
  async #forsake(entry: Entry): Promise<void> {
    for (const version of entry.versions) this.#context.pending.remove(version);
    this.#entries.delete(entry);
    await entry.spool.forsake();
    this.#context.log("debug", { path: entry.files.at(-1)!.path }, "A saved checkpoint is another process's to upload");
  }

  /** Removes the local copy, and of one that is not whole at its origin what may be there. */
  async #forget(entry: Entry): Promise<void> {
    for (const [n, version] of entry.versions.entries()) {
      if (entry.done.stored[n] !== undefined) version.becomes(entry.done.stored[n]);
      this.#context.pending.remove(version);
    }
    await entry.spool.remove().catch((error) => {
      this.#context.log(
        "warn",
        { path: entry.files.at(-1)!.path, journal: entry.spool.journalPath, error: String(error) },
        "The local copy of a checkpoint that is uploaded, or of no use any more, could not be removed: remove it, or the next mill may upload it again",
      );
    });
    this.#entries.delete(entry);
    const { files, done } = entry;
    if (done.stored.length < files.length) await this.#uploads.takeBack(files, files.length - 1, done.replaced);
  }
}

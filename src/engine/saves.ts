/**
 * Checkpoints that are saved. `through`: the bytes go from the caller's thread to the origin, and into the cache on the way. `back`: they go to a file
 * in a cache directory, and from there the same way in the background; a journal beside it has the next mill of the directory go on where this one ends.
 */
import { MillraceError, throwIfAborted } from "../errors.js";
import type { StoredObject } from "../storage/store.js";
import { combinedSignal } from "../util/combined-signal.js";
import { ProgressMeter } from "../util/progress-meter.js";
import { unlessAborted } from "../util/unless-aborted.js";
import { type Place, publicInfo, uriOf } from "./mounts.js";
import type { CallContext, Handlers } from "./rpc.js";
import type { SpooledFile } from "./save-journal.js";
import { removeLost } from "./save-lost.js";
import { Lending, partBytes } from "./save-parts.js";
import type { SaveFile, SaveRequest, SaveRoom, SaveStats } from "./save-protocol.js";
import { SaveQueue } from "./save-queue.js";
import { formless } from "./save-series.js";
import { Spool } from "./save-spool.js";
import { checkPlace, type SaveTarget } from "./save-target.js";
import { type Turn, Turns } from "./save-turns.js";
import { type SaveProgress, SaveUploads } from "./save-upload.js";
import type { SavesContext } from "./saves-context.js";

/** One save under way. */
interface Save {
  readonly files: readonly SaveTarget[];
  readonly keep: number | undefined;
  readonly turn: Turn;
  readonly lending: Lending;
  readonly signal: AbortSignal;
  readonly meter: ProgressMeter;
}

export class Saves {
  readonly #context: SavesContext;
  readonly #uploads: SaveUploads;
  readonly #queue: SaveQueue;
  readonly #turns = new Turns();
  readonly #lendings = new Map<number, Lending>();
  readonly #running = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  readonly #counts = { through: 0, back: 0, noSpace: 0 };
  #spools = 0;

  constructor(context: SavesContext) {
    this.#context = context;
    this.#uploads = new SaveUploads(context.cache, context.metadata, context.log);
    this.#queue = new SaveQueue(context, this.#uploads, this.#turns);
  }

  /** Takes up what earlier processes have left to upload. Resolves when it can be read here; the uploads go on. */
  async recover(): Promise<void> {
    const { left, unreadable } = await Spool.recover(this.#context.cache.disk?.directories ?? []);
    for (const file of unreadable)
      this.#queue.strand(file, file, new MillraceError("MILLRACE_CORRUPT", `${file}: the journal is damaged, or of another version`));
    for (const { spool, journal } of left) {
      const turn = this.#turns.take(formless(journal.target));
      try {
        const files = await this.#places(journal.files, undefined);
        const { place, path } = files.at(-1)!;
        if (uriOf(place) !== journal.target)
          throw new MillraceError("MILLRACE_CONFIG", `${path} is not ${journal.target} any more: mount that, and open the mill again`);
        await this.#queue.add({ spool, journal, files, turn, recovered: true });
      } catch (error) {
        turn.end();
        const { path } = journal.files.at(-1)!;
        if (await removeLost(spool, journal))
          this.#context.log("warn", { path }, "The local copy of a saved checkpoint is gone, and was not uploaded: its journal is removed");
        else {
          this.#queue.strand(path, spool.journalPath, error);
          await spool.leave();
        }
      }
    }
  }

  /** Saves what the caller writes into the memory that `room` lends; where the disk cannot take a `back` save, to its origin. */
  async save(request: SaveRequest, context: CallContext): Promise<StoredObject> {
    const lending = new Lending();
    this.#lendings.set(request.id, lending);
    const running = this.#save(request, lending, context);
    this.#running.add(running);
    try {
      return await running;
    } catch (error) {
      throw this.#closing.signal.aborted ? this.#closing.signal.reason : error;
    } finally {
      this.#running.delete(running);
      lending.end();
    }
  }

  /** What was lent before is written. Resolves to memory for the next bytes, or undefined where no more are wanted. */
  room(id: number): Promise<SaveRoom> | undefined {
    return this.#lendings.get(id)?.next();
  }

  /** The caller writes no more. */
  left(id: number): void {
    this.#lendings.get(id)?.left();
    this.#lendings.delete(id);
  }

  /** Resolves when all that was saved is uploaded. Rejects with what keeps it from that; with `again` that is tried again before. */
  flush(again: boolean): Promise<void> {
    return again ? this.#queue.flush() : this.#queue.settled();
  }

  /** Writes an object otherwise, in its turn among the saves of its name. */
  async write(path: string, signal: AbortSignal, work: (place: Place) => Promise<StoredObject>): Promise<StoredObject> {
    const find = async () => [{ path, size: 0, place: await this.#context.mounts.resolve(path) }];
    const { files, turn } = await this.#enter(path, find, signal);
    try {
      await unlessAborted(turn.ready, signal, "The write");
      const written = await work(files[0]!.place);
      await this.#queue.wasSaved(turn, files[0]!.place, written.etag);
      return written;
    } finally {
      turn.end();
    }
  }

  stats(): SaveStats {
    const { bytes, removed } = this.#uploads;
    return { ...this.#counts, uploaded: this.#queue.uploaded, bytes, removed, ...this.#queue.stats() };
  }

  /** Ends the saves under way, and gives uploads a moment to end by themselves. */
  async settle(): Promise<void> {
    this.#closing.abort(new MillraceError("MILLRACE_CLOSED", "The mill was closed before the checkpoint was saved"));
    await this.#queue.settle();
  }

  /** Ends uploads; what is not uploaded stays on the disk for the next mill. */
  async close(): Promise<void> {
    await Promise.allSettled(this.#running);
    await this.#queue.close();
  }

  async #save({ files: wanted, write, keep }: SaveRequest, lending: Lending, context: CallContext): Promise<StoredObject> {
    const signal = combinedSignal(context.signal, this.#closing.signal);
    const { files, turn } = await this.#enter(wanted.at(-1)!.path, () => this.#places(wanted, keep), signal);
    const { place } = files.at(-1)!;
    const attempt = async (how: (save: Save) => Promise<StoredObject | undefined>): Promise<StoredObject | undefined> => {
      const meter = new ProgressMeter((progress) => context.progress(progress));
      for (const { size } of files) meter.expect(1, size);
      const stored = await how({ files, keep, turn, lending, meter, signal });
      if (stored === undefined) return undefined;
      meter.did(files.length, 0);
      meter.report();
      return publicInfo(place, stored);
    };
    try {
      const spooled = write === "back" ? await attempt((save) => this.#back(save)) : undefined;
      // With the same turn, so that no later save of the name comes before it.
      return spooled ?? (await attempt((save) => this.#through(save)))!;
    } catch (error) {
      turn.end();
      throw error;
    }
  }

  async #enter(path: string, find: () => Promise<SaveTarget[]>, signal: AbortSignal): Promise<{ files: SaveTarget[]; turn: Turn }> {
    const name = (files: SaveTarget[]) => formless(uriOf(files.at(-1)!.place));
    const { found, turn } = await this.#turns.enter(this.#context.mounts.rootOf(path), find, name, signal);
    return { files: found, turn };
  }

  async #through({ files, keep, turn, lending, signal, meter }: Save): Promise<StoredObject> {
    await unlessAborted(turn.ready, signal, "The save");
    const done: SaveProgress = { stored: [], replaced: [] };
    const parts = (n: number) => lending.parts(this.#context.cache, files[n]!.size, signal);
    try {
      const onWhole = ({ etag }: StoredObject) => this.#queue.wasSaved(turn, files.at(-1)!.place, etag);
      await this.#uploads.all(files, done, { keep, signal, parts, onWhole, onBytes: (bytes) => meter.did(0, bytes) });
    } catch (error) {
      await this.#uploads.takeBack(files, done.stored.length, done.replaced);
      throw error;
    }
    turn.end();
    this.#counts.through++;
    return done.stored.at(-1)!;
  }

  /** Undefined where the disk cannot take it: the caller is to begin anew then. */
  async #back(save: Save): Promise<StoredObject | undefined> {
    const { files, keep, turn } = save;
    const { disk } = this.#context.cache;
    if (disk === undefined)
      throw new MillraceError("MILLRACE_CONFIG", 'write: "back" takes a cache directory: set cache.disk, or write "through"');
    let spool: Spool | undefined;
    try {
      spool = await Spool.reserve(
        disk.directories,
        files.map(({ size }) => size),
        this.#spools++,
      );
      const written = await this.#spool(save, spool);
      const target = uriOf(files.at(-1)!.place);
      const pieceBytes = partBytes(this.#context.cache);
      const journal = { version: 1, savedMs: turn.takenMs, turn: turn.number, target, keep, pieceBytes, files: written } as const;
      await spool.commit(journal);
      throwIfAborted(save.signal, "The save");
      const stored = await this.#queue.add({ spool, journal, files, turn, recovered: false });
      this.#counts.back++;
      return stored;
    } catch (error) {
      await spool?.remove().catch(() => {});
      if (save.signal.aborted) throw error;
      this.#noSpace(files.at(-1)!.path, error);
      save.lending.restart();
      return undefined;
    }
  }

  async #spool({ files, lending, signal, meter }: Save, spool: Spool): Promise<SpooledFile[]> {
    const written: SpooledFile[] = [];
    for (const { path, size } of files) {
      const crcs = await spool.write(lending.parts(this.#context.cache, size, signal), signal, (bytes) => meter.did(0, bytes));
      written.push({ path, size, crcs });
    }
    return written;
  }

  /** Whatever a disk does, the checkpoint can still be saved to its origin. */
  #noSpace(path: string, cause: unknown): void {
    this.#counts.noSpace++;
    const reason = cause instanceof Error ? cause.message : String(cause);
    this.#context.log("warn", { path, reason }, "The disk cannot take a checkpoint: it is saved to its origin at once");
  }

  /** Throws MILLRACE_PERMISSION, _CONFIG where one of them cannot be written. */
  async #places(files: readonly SaveFile[], keep: number | undefined): Promise<SaveTarget[]> {
    const resolved = files.map(async ({ path, size }) => ({ path, size, place: await this.#context.mounts.resolve(path) }));
    const targets = await Promise.all(resolved);
    for (const { place, path } of targets) checkPlace(place, path, path === files.at(-1)!.path ? keep : undefined);
    return targets;
  }
}

/** What the caller's thread may ask of saves. */
export function saveHandlers(saves: () => Saves): Handlers {
  return {
    save: (request: SaveRequest, context: CallContext) => saves().save(request, context),
    saveRoom: (id: number) => saves().room(id),
    saveLeft: (id: number) => saves().left(id),
    flush: (again: boolean) => saves().flush(again),
  };
}

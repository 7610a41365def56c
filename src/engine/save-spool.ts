/**
 * Saved checkpoints on the local disk that are still to be uploaded, in the folder `saves` of a cache directory:
 *
 *   <save>-<n>.data   one object, as it is to be uploaded
 *   <save>.json       the journal: written last, when the data is on the disk, and removed first
 *   <save>.lock       the process that writes or uploads it
 *
 * Data without a journal and without a living process is what a process left that died while it saved.
 */
import { open, readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import type { DiskDirectory } from "../cache/disk-directory.js";
import { SAVES } from "../cache/disk-layout.js";
import { errorCode, removeFile } from "../cache/file-io.js";
import { FileLock, PATIENT } from "../cache/file-lock.js";
import { type ProcessIdentity, thisProcess } from "../cache/process-identity.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import { fileError } from "../storage/file-errors.js";
import { writeFileWhole } from "../storage/file-write.js";
import { endJournal, formatJournal, type Journal, parseJournal } from "./save-journal.js";
import { partBytes, SavePart } from "./save-parts.js";
import { crcOf, hasPieces, readAt, writeAt } from "./save-pieces.js";

interface Recovered {
  readonly left: readonly { readonly spool: Spool; readonly journal: Journal }[];
  readonly unreadable: readonly string[];
}

const NAME = /^(\d+-[0-9a-f]{12}-\d+)(?:-(\d+)\.data|\.json|\.lock)$/;

export class Spool {
  readonly id: string;
  readonly #folder: string;
  readonly #directory: DiskDirectory;
  readonly #lock: FileLock;
  #charge = 0;
  #files = 0;
  #locked = false;

  private constructor(directory: DiskDirectory, id: string, me: ProcessIdentity) {
    this.id = id;
    this.#directory = directory;
    this.#folder = join(directory.root, SAVES);
    const counters = { lockTakeovers: 0, lockTimeouts: 0 };
    this.#lock = new FileLock(join(this.#folder, `${id}.lock`), me, counters, PATIENT, () => directory.temp());
  }

  /** Room for files of these sizes, in the directory that has most of it. Throws MILLRACE_NO_SPACE where none has. */
  static async reserve(directories: readonly DiskDirectory[], sizes: readonly number[], number: number): Promise<Spool> {
    const me = await thisProcess();
    for (const directory of [...directories].sort((a, b) => b.ledger.free - a.ledger.free)) {
      const spool = new Spool(directory, `${me.instance}-${number}`, me);
      if (await spool.#reserve(sizes)) return spool;
    }
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    throw new MillraceError(
      "MILLRACE_NO_SPACE",
      `no cache directory has room for a checkpoint of ${bytes} bytes; raise cache.disk[].capacity`,
    );
  }

  /** What processes that are gone have left to upload, oldest first, and the journals that cannot be read; what they had not finished is removed. */
  static async recover(directories: readonly DiskDirectory[]): Promise<Recovered> {
    const me = await thisProcess();
    const left: { spool: Spool; journal: Journal }[] = [];
    const unreadable: string[] = [];
    for (const directory of directories) {
      const names = await readdir(join(directory.root, SAVES)).catch(() => []);
      for (const id of new Set(names.flatMap((name) => NAME.exec(name)?.[1] ?? []))) {
        const spool = new Spool(directory, id, me);
        const journal = await spool.#recover(names);
        if (journal === "unreadable") unreadable.push(spool.journalPath);
        else if (journal !== undefined) left.push({ spool, journal });
      }
    }
    return { left: left.sort(({ journal: a }, { journal: b }) => a.savedMs - b.savedMs || a.turn - b.turn), unreadable };
  }

  get journalPath(): string {
    return join(this.#folder, `${this.id}.json`);
  }

  dataPath(n: number): string {
    return join(this.#folder, `${this.id}-${n}.data`);
  }

  /** Writes the next file; resolves to the CRCs of its parts once it is on the disk. */
  async write(parts: AsyncIterable<SavePart>, signal: AbortSignal, onPart: (bytes: number) => void): Promise<number[]> {
    const crcs: number[] = [];
    const file = await open(this.dataPath(this.#files++), "wx");
    let writing: Promise<void> = Promise.resolve();
    try {
      for await (const part of parts) {
        // The caller has filled this part while the one before was written.
        try {
          await writing;
          throwIfAborted(signal, "The save");
        } catch (error) {
          part.release();
          throw error;
        }
        crcs.push(crcOf(part.views));
        writing = writeAt(file, part).finally(() => part.release());
        writing.catch(() => {}); // Awaited with the next part, or below.
        onPart(part.views.reduce((sum, view) => sum + view.length, 0));
      }
      await writing;
      await file.sync();
      return crcs;
    } finally {
      await writing.catch(() => {});
      await file.close();
    }
  }

  /** From here on it survives this process. Throws where another has taken it over, which may have removed its data. */
  async commit(journal: Journal): Promise<void> {
    if (!(await this.#lock.kept()))
      throw new MillraceError("MILLRACE_ABORTED", `${journal.target}: another process has taken the save over`);
    const bytes = Buffer.from(formatJournal(journal));
    const whole = async function* () {
      yield bytes;
    };
    await writeFileWhole(this.journalPath, whole(), {}, this.#directory.temp());
  }

  /** A file's parts, read and checked; each is its reader's to release. Throws MILLRACE_CORRUPT. */
  async *parts(cache: BlockCache, n: number, { pieceBytes, files }: Journal): AsyncGenerator<SavePart, void, undefined> {
    const { size, crcs, path } = files[n]!;
    // A mill with larger blocks has larger parts: as many pieces as it takes.
    const length = Math.max(pieceBytes, partBytes(cache));
    const file = await open(this.dataPath(n), "r");
    try {
      for (let begin = 0; begin < size; begin += length) {
        const part = new SavePart(cache, begin, Math.min(size, begin + length));
        const sums = await readAt(file, part, pieceBytes).catch((error) => {
          part.release();
          throw error;
        });
        if (sums.some((sum, i) => sum !== crcs[begin / pieceBytes + i])) {
          part.release();
          throw this.#damaged(path, n);
        }
        yield part;
      }
    } finally {
      await file.close();
    }
  }

  /** Reads a file to its end. Throws MILLRACE_CORRUPT where it is not what was saved, and what reading it throws. */
  async check(n: number, { pieceBytes, files }: Journal, signal: AbortSignal): Promise<void> {
    const { crcs, path } = files[n]!;
    const file = this.dataPath(n);
    const whole = await hasPieces(file, files[n]!.size, pieceBytes, crcs, signal).catch((error) => {
      throw fileError(error, { uri: `file://${file}` });
    });
    if (!whole) throw this.#damaged(path, n);
  }

  /**
   * Whether it is this process's to upload; false once another has taken it over. Of what an earlier process has left with a lock that may yet be a
   * living one's it is told when the lock can be taken, or its holder is seen to live. Throws when the signal fires.
   */
  async own(signal: AbortSignal): Promise<boolean> {
    if (this.#locked) return this.#lock.kept();
    if (!(await this.#lock.takeFromGone(signal))) return false;
    this.#locked = true;
    await this.#count(await readdir(this.#folder));
    // Its holder may have uploaded it meanwhile.
    return readFile(this.journalPath, "utf8").then(
      (text) => parseJournal(text) !== "over",
      (error) => errorCode(error) !== "ENOENT",
    );
  }

  /** Gives up what another process has taken over, or removed. */
  async forsake(): Promise<void> {
    this.#directory.room.lost(this.#charge);
    this.#charge = 0;
    await this.#lock.drop();
  }

  /** The journal goes first: what is left of it then is no save any more. Nothing of what another process has taken over. */
  async remove(): Promise<void> {
    if (!(await this.#lock.kept())) return this.forsake();
    await endJournal(this.journalPath);
    for (let n = 0; n < this.#files; n++) await removeFile(this.dataPath(n));
    this.#directory.room.release(this.#charge);
    this.#charge = 0;
    await this.#lock.drop();
  }

  /** It stays for whoever opens the directory next. */
  async leave(): Promise<void> {
    await this.#lock.drop();
  }

  #damaged(path: string, n: number): MillraceError {
    return new MillraceError("MILLRACE_CORRUPT", `${path}: the local copy ${this.dataPath(n)} is damaged; save it again`);
  }

  async #reserve(sizes: readonly number[]): Promise<boolean> {
    const { room, health } = this.#directory;
    for (const size of sizes) {
      if (await room.reserve(size, "referred")) this.#charge += room.charge(size);
      else {
        room.release(this.#charge);
        return false;
      }
    }
    const locked = await health.attempt(() => this.#lock.tryTake(), true);
    this.#locked = locked === true;
    if (!this.#locked) room.release(this.#charge);
    return this.#locked;
  }

  /** Undefined where there is nothing to upload, or nothing yet. */
  async #recover(names: readonly string[]): Promise<Journal | "unreadable" | undefined> {
    this.#locked = await this.#lock.tryTake().catch(() => false);
    if (this.#locked) await this.#count(names);
    const text = await readFile(this.journalPath, "utf8").catch((error) => errorCode(error));
    const journal = text === "ENOENT" ? "over" : parseJournal(text ?? "");
    if (journal === "over") {
      if (this.#locked) await this.remove().catch(() => {});
      return undefined;
    }
    if (journal !== undefined || !this.#locked) return journal;
    // Of a journal that cannot be read (another version's, say) the data stays.
    await this.leave();
    return "unreadable";
  }

  /** Finds its files among those of the folder, and what they take. */
  async #count(names: readonly string[]): Promise<void> {
    const { room } = this.#directory;
    for (const name of names) {
      const match = NAME.exec(name);
      if (match?.[1] !== this.id || match[2] === undefined) continue;
      const size = await stat(join(this.#folder, name)).then(
        (facts) => facts.size,
        () => 0,
      );
      this.#files = Math.max(this.#files, Number(match[2]) + 1);
      this.#charge += room.charge(size);
    }
    room.found(this.#charge);
  }
}

/**
 * Training states: what a run needs to go on, each one safetensors file below a prefix, `state-000000000042.safetensors`. The tensors are its
 * tensors; the loader's state and what else the run wants to keep are JSON in its metadata, so that all of it is there or none.
 */
import type { Checkpoint, LoaderState, Millrace, ObjectInfo, TrainingRun, TrainingState, TrainingStateOptions, Watch } from "../api.js";
import { isMillraceError, MillraceError, type MillraceErrorCode } from "../errors.js";
import { jsonOf } from "./state-json.js";
import { checkTrainingLoad, checkTrainingSave } from "./training-options.js";

/** Keys of the metadata. The first tells a state from other checkpoints, and in what form it is. */
const [FORM, LOADER, EXTRA] = ["millrace.state", "millrace.loader", "millrace.extra"] as const;
const CURRENT_FORM = "1";
/** So that names sort as their numbers do, up to a save a second for 30,000 years. */
const DIGITS = 12;
const NAME = /^state-(\d{12,})\.safetensors$/;
/** What a damaged or vanished file is told by. Anything else may pass, and an older state must not be taken for the newest then. */
const DAMAGED: readonly MillraceErrorCode[] = ["MILLRACE_FORMAT", "MILLRACE_CORRUPT", "MILLRACE_NOT_FOUND", "MILLRACE_CHANGED"];

/** What a path means, however it is written. */
export interface ResolvedPath {
  /** As a listing says it. */
  readonly path: string;
  /** The same for each mount that leads there. */
  readonly uri: string;
}
interface StateMill extends Pick<Millrace, "list" | "invalidate" | "checkpoint" | "saveCheckpoint"> {
  resolve(path: string): Promise<ResolvedPath>;
}
interface Found {
  readonly number: number;
  readonly path: string;
}

/** The states of one mill's prefixes. */
export class TrainingStates {
  readonly #mill: StateMill;
  /** By the prefix's URI, the highest number that was given so far, in this process or before. */
  readonly #last = new Map<string, Promise<{ number: number }>>();

  constructor(mill: StateMill) {
    this.#mill = mill;
  }

  /**
   * Each save has the next number after the highest that was there when this process first looked: later saves sort after earlier ones, also
   * over restarts, and where a run goes on from an older state or begins anew. The prefix is one run's: of several ranks one saves.
   */
  async save(prefix: string, run: TrainingRun, options: TrainingStateOptions = {}): Promise<ObjectInfo> {
    checkTrainingSave(prefix, run, options);
    const { tensors, loader, extra } = run;
    const metadata = {
      [FORM]: CURRENT_FORM,
      ...(loader !== undefined && { [LOADER]: JSON.stringify(loader) }),
      ...(extra !== undefined && { [EXTRA]: jsonOf(extra) }),
    };
    const folder = await this.#folderOf(prefix);
    const last = await this.#lastOf(folder);
    const name = `state-${String(++last.number).padStart(DIGITS, "0")}.safetensors`;
    return this.#mill.saveCheckpoint(folder.path + name, tensors, { ...options, metadata });
  }

  async loadLatest(prefix: string, options: Watch = {}): Promise<TrainingState | undefined> {
    checkTrainingLoad(prefix, options);
    const found = await this.#list(await this.#folderOf(prefix));
    const skipped: { path: string; reason: string }[] = [];
    for (const { path } of found.reverse()) {
      try {
        const checkpoint = await this.#mill.checkpoint(path, options);
        return { checkpoint, ...stateIn(checkpoint, path), skipped };
      } catch (error) {
        if (!isMillraceError(error) || !DAMAGED.includes(error.code)) throw error;
        skipped.push({ path, reason: error.message });
      }
    }
    if (skipped.length === 0) return undefined;
    throw new MillraceError(
      "MILLRACE_CORRUPT",
      `${prefix}: none of its ${skipped.length} training states is whole. Delete them to begin anew. ${skipped.map(({ reason }) => reason).join("; ")}`,
    );
  }

  /** With a closing slash, as those whose names it begins have it. */
  #folderOf(prefix: string): Promise<ResolvedPath> {
    return this.#mill.resolve(`${prefix.replace(/\/+$/, "")}/`);
  }

  #lastOf(folder: ResolvedPath): Promise<{ number: number }> {
    const known = this.#last.get(folder.uri);
    if (known !== undefined) return known;
    const asked = this.#list(folder).then((found) => ({ number: found.at(-1)?.number ?? 0 }));
    this.#last.set(folder.uri, asked);
    asked.catch(() => this.#last.delete(folder.uri)); // The next save asks again.
    return asked;
  }

  /** In ascending order. What a cached listing says may be from before the last save of another process. */
  async #list({ path: folder }: ResolvedPath): Promise<Found[]> {
    await this.#mill.invalidate(folder);
    const found: Found[] = [];
    for await (const { path } of this.#mill.list(folder)) {
      const number = NAME.exec(path.slice(folder.length))?.[1];
      if (number !== undefined) found.push({ number: Number(number), path });
    }
    return found.sort((a, b) => a.number - b.number);
  }
}

function stateIn({ metadata }: Checkpoint, path: string): { loader: LoaderState | undefined; extra: unknown } {
  const form = metadata[FORM];
  if (form === undefined) throw new MillraceError("MILLRACE_FORMAT", `${path}: is no training state`);
  // Of all forms there were this is the first: it is whole, and an older state must not be taken for the newest.
  if (form !== CURRENT_FORM)
    throw new MillraceError(
      "MILLRACE_RESUME",
      `${path}: a newer version of Millrace wrote this training state, in form "${form}"; this one reads form "${CURRENT_FORM}": update it, or remove the state to go on from an older one`,
    );
  return { loader: parsed(metadata, LOADER, path) as LoaderState | undefined, extra: parsed(metadata, EXTRA, path) };
}

function parsed(metadata: Readonly<Record<string, string>>, key: string, path: string): unknown {
  const json = metadata[key];
  if (json === undefined) return undefined;
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new MillraceError("MILLRACE_FORMAT", `${path}: its metadata "${key}" is not JSON: ${(cause as Error).message}`, { cause });
  }
}

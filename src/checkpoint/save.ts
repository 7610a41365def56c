/** Saves tensors: their bytes are copied from where they are into memory that the engine lends, 8 MiB at a time, and nowhere between. */
import { randomBytes } from "node:crypto";
import type { NamedTensor, NamedTensors, ObjectInfo, SaveOptions } from "../api.js";
import type { SaveRequest, SaveRoom } from "../engine/save-protocol.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import { combinedSignal } from "../util/combined-signal.js";
import { copyBytes } from "../util/copy-bytes.js";
import { checkSaveOptions } from "./checkpoint-options.js";
import type { Call } from "./load.js";
import { type PlannedFile, planSave } from "./save-plan.js";

/** See `Millrace.saveCheckpoint`. `nextId`: a number that no other save of this mill has. */
export async function saveCheckpoint(
  call: Call,
  nextId: () => number,
  target: string,
  tensors: NamedTensors,
  options: SaveOptions,
): Promise<ObjectInfo> {
  if (typeof target !== "string") throw new MillraceError("MILLRACE_CONFIG", "target: expected the path of the checkpoint");
  const { write, keep, metadata, maxShardBytes } = checkSaveOptions(options);
  const listed = listTensors(tensors, options.signal);
  const files = planSave(target, listed instanceof Promise ? await listed : listed, {
    metadata,
    maxShardBytes,
    tag: randomBytes(4).toString("hex"),
  });
  const request = { id: nextId(), files: files.map(({ path, size }) => ({ path, size })), write, keep };
  return sendFiles(call, request, files, options);
}

/**
 * All of them, since the header, which comes first, has all of their names and shapes. Those of an array are there at once, so that two saves of
 * one name reach the engine in the order in which they were asked for.
 */
function listTensors(tensors: NamedTensors, signal: AbortSignal | undefined): readonly NamedTensor[] | Promise<NamedTensor[]> {
  if (tensors instanceof Map) return [...tensors.values()];
  if (Symbol.iterator in Object(tensors)) return [...(tensors as Iterable<NamedTensor>)];
  if (Symbol.asyncIterator in Object(tensors)) return collect(tensors as AsyncIterable<NamedTensor>, signal);
  throw new MillraceError("MILLRACE_CONFIG", "tensors: expected an iterable or a Map of { name, dtype, shape, data }");
}

async function collect(tensors: AsyncIterable<NamedTensor>, signal: AbortSignal | undefined): Promise<NamedTensor[]> {
  const listed: NamedTensor[] = [];
  for await (const tensor of tensors) {
    throwIfAborted(signal, "The save");
    listed.push(tensor);
  }
  return listed;
}

async function sendFiles(
  call: Call,
  request: SaveRequest,
  files: readonly PlannedFile[],
  { signal, onProgress }: SaveOptions,
): Promise<ObjectInfo> {
  const failed = new AbortController();
  const source = new PieceReader(files.flatMap(({ pieces }) => pieces));
  const saved = call("save", request, { signal: combinedSignal(signal, failed.signal), onProgress });
  let over = false;
  const send = async () => {
    for (;;) {
      const room = (await call("saveRoom", request.id)) as SaveRoom;
      // After "saveLeft" the memory may be somebody else's.
      if (room === undefined || over) return;
      if (room === "again") source.rewind();
      else for (const view of room) source.fill(view);
    }
  };
  try {
    await Promise.all([saved, send()]);
    return (await saved) as ObjectInfo;
  } catch (error) {
    over = true;
    failed.abort(error);
    await saved.catch(() => {});
    throw error;
  } finally {
    await call("saveLeft", request.id).catch(() => {});
  }
}

/** Bytes that lie in several places, read one after the other. */
class PieceReader {
  readonly #pieces: readonly Uint8Array[];
  #piece = 0;
  #at = 0;

  constructor(pieces: readonly Uint8Array[]) {
    this.#pieces = pieces.filter(({ length }) => length > 0);
  }

  rewind(): void {
    this.#piece = 0;
    this.#at = 0;
  }

  /** Throws MILLRACE_CONFIG where there are fewer: memory that was handed on to another thread meanwhile has none. */
  fill(target: Uint8Array): void {
    for (let filled = 0; filled < target.length; ) {
      const piece = this.#pieces[this.#piece];
      if (piece === undefined || piece.length === 0)
        throw new MillraceError(
          "MILLRACE_CONFIG",
          "A tensor's memory was transferred or resized while it was saved: leave it as it is until then",
        );
      const part = piece.subarray(this.#at, this.#at + target.length - filled);
      copyBytes(target, filled, part);
      filled += part.length;
      this.#at += part.length;
      if (this.#at < piece.length) continue;
      this.#piece++;
      this.#at = 0;
    }
  }
}

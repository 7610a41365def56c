/** `mill.checkpoint`: headers first, then tensors, whole or by rows, each from one version of its file. */
import { constants } from "node:buffer";
import type { Checkpoint, LoadOptions, ObjectInfo, TensorDtype, TensorInfo, TensorOptions, Watch } from "../api.js";
import type { PiecesRequest } from "../engine/files.js";
import type { CallOptions } from "../engine/rpc.js";
import { isMillraceError, MillraceError } from "../errors.js";
import { ProgressMeter } from "../util/progress-meter.js";
import { checkLoadOptions, checkTensorOptions } from "./checkpoint-options.js";
import { DTYPES } from "./dtypes.js";
import { planRuns, type Run } from "./load-plan.js";
import { alignmentOf, TensorView } from "./loaded-tensor.js";
import { inOrder, type Job } from "./read-ahead.js";
import type { TensorEntry } from "./safetensors.js";
import { quoted } from "./strict-json.js";

/** Sends a call to the engine. */
export type Call = (method: string, args: unknown, options?: CallOptions) => Promise<unknown>;

/** One file, its header read. */
export interface CheckpointFile {
  readonly info: ObjectInfo;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: readonly TensorEntry[];
}
/** A tensor, or rows of one, and where its bytes are. */
interface WantedTensor extends TensorEntry {
  readonly file: CheckpointFile;
}

/** One typed array on Node 20 has 2^32 elements at most. */
const MOST_BYTES = constants.MAX_LENGTH;
/** Tensors that share a buffer keep it whole for as long as one of them is used. */
const RUN_BYTES = { load: 2 ** 30, stream: 16 * 2 ** 20 } as const;
/** As many parts of 8 MiB as a read has in flight, twice: many small files are read as fast as one. */
const LOAD_AHEAD_BYTES = 256 * 2 ** 20;
/** What a stream holds that its reader has not yet taken. */
const STREAM_AHEAD_BYTES = 64 * 2 ** 20;

export class LoadedCheckpoint implements Checkpoint {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: readonly TensorInfo[];
  readonly #call: Call;
  readonly #source: string;
  readonly #tensors: ReadonlyMap<string, WantedTensor>;

  constructor(call: Call, source: string, files: readonly CheckpointFile[]) {
    this.#call = call;
    this.#source = source;
    this.#tensors = new Map(files.flatMap((file) => file.tensors.map((tensor) => [tensor.name, { ...tensor, file }])));
    // The first file's come last, and stay.
    this.metadata = Object.fromEntries(files.toReversed().flatMap(({ metadata }) => Object.entries(metadata)));
    this.tensors = Array.from(this.#tensors.values(), ({ name, dtype, shape, begin, end }) => ({
      name,
      dtype: dtype as TensorDtype,
      shape,
      byteLength: end - begin,
    }));
  }

  async tensor(name: string, options: TensorOptions = {}): Promise<TensorView> {
    if (typeof name !== "string") throw new MillraceError("MILLRACE_CONFIG", "name: expected the name of a tensor");
    checkTensorOptions(options);
    const { rows, ...watch } = options;
    const whole = this.#wanted(name);
    const [tensor] = await this.#loaded([rows === undefined ? whole : rowsOf(whole, rows)], watch);
    return tensor!;
  }

  async load(options: LoadOptions = {}): Promise<ReadonlyMap<string, TensorView>> {
    checkLoadOptions(options);
    const tensors = await this.#loaded(this.#named(options.names), options);
    return new Map(tensors.map((tensor) => [tensor.name, tensor]));
  }

  async *stream(options: LoadOptions = {}): AsyncGenerator<TensorView, void, undefined> {
    checkLoadOptions(options);
    for await (const tensors of this.#read(this.#named(options.names), "stream", options)) yield* tensors;
  }

  async #loaded(tensors: readonly WantedTensor[], watch: Watch): Promise<TensorView[]> {
    const loaded: TensorView[][] = [];
    for await (const run of this.#read(tensors, "load", watch)) loaded.push(run);
    return loaded.flat();
  }

  /** In the order of the files. */
  #named(names: readonly string[] | undefined): WantedTensor[] {
    if (names === undefined) return [...this.#tensors.values()];
    const wanted = new Set(names);
    for (const name of wanted) this.#wanted(name);
    return [...this.#tensors.values()].filter(({ name }) => wanted.has(name));
  }

  #wanted(name: string): WantedTensor {
    const tensor = this.#tensors.get(name);
    if (tensor !== undefined) return tensor;
    throw new MillraceError(
      "MILLRACE_NOT_FOUND",
      `${this.#source} has no tensor ${quoted(name)}; \`tensors\` lists the ${this.#tensors.size} it has`,
    );
  }

  /** The tensors, file by file and ascending, as their runs arrive. */
  #read(
    tensors: readonly WantedTensor[],
    way: "load" | "stream",
    { signal, onProgress }: Watch,
  ): AsyncGenerator<TensorView[], void, undefined> {
    for (const tensor of tensors) checkLength(tensor);
    const meter = new ProgressMeter(onProgress);
    const jobs = byFile(tensors).flatMap((of) =>
      planRuns(of.map(extentOf), { mostBytes: RUN_BYTES[way] }).map((run) =>
        this.#job(run, of.slice(run.first, run.first + run.places.length), meter),
      ),
    );
    return reported(inOrder(jobs, way === "load" ? LOAD_AHEAD_BYTES : STREAM_AHEAD_BYTES, signal), meter);
  }

  #job(run: Run, tensors: readonly WantedTensor[], meter: ProgressMeter): Job<TensorView[]> {
    const { info } = tensors[0]!.file;
    const bytes = run.pieces.reduce((sum, { begin, end }) => sum + end - begin, 0);
    meter.expect(tensors.length, bytes);
    const request: PiecesRequest = { path: info.path, version: info, pieces: run.pieces, byteLength: run.byteLength };
    const read = async (signal: AbortSignal): Promise<TensorView[]> => {
      let done = 0;
      const to = (now: number, objects = 0): void => {
        meter.did(objects, now - done);
        done = now;
      };
      const onProgress = (progress: { bytes: number }): void => to(progress.bytes);
      const reading = this.#call("readPieces", request, { signal, onProgress });
      const { buffer } = (await reading.catch((error) => {
        throw isMillraceError(error, "MILLRACE_NOT_FOUND") ? goneError(info.path, error) : error;
      })) as Uint8Array<ArrayBuffer>;
      to(bytes, tensors.length);
      return tensors.map((tensor, i) => new TensorView(tensor, buffer, run.places[i]!, tensor.end - tensor.begin));
    };
    return { bytes: run.byteLength, run: read };
  }
}

/** A version that was removed is gone as one that was overwritten. */
function goneError(path: string, cause: MillraceError): MillraceError {
  return new MillraceError("MILLRACE_CHANGED", `${path}: is not there any more: open the checkpoint again`, { cause });
}

async function* reported<T>(results: AsyncIterable<T>, meter: ProgressMeter): AsyncGenerator<T, void, undefined> {
  yield* results;
  meter.report();
}

function extentOf({ begin, end, dtype }: WantedTensor): { begin: number; end: number; align: number } {
  return { begin, end, align: alignmentOf(dtype) };
}

/** Neighbours of one file together. */
function byFile(tensors: readonly WantedTensor[]): WantedTensor[][] {
  const groups: WantedTensor[][] = [];
  for (const tensor of tensors) {
    const group = groups.at(-1);
    if (group?.[0]?.file === tensor.file) group.push(tensor);
    else groups.push([tensor]);
  }
  return groups;
}

function checkLength({ name, shape, begin, end }: WantedTensor): void {
  if (end - begin <= MOST_BYTES) return;
  const most = `its ${end - begin} bytes are more than the ${MOST_BYTES} that an array can have`;
  throw new MillraceError("MILLRACE_CONFIG", `tensor ${quoted(name)} [${shape}]: ${most}; ask for some of its \`rows\` at a time`);
}

/** The part of a tensor that these rows are. */
function rowsOf(tensor: WantedTensor, rows: NonNullable<TensorOptions["rows"]>): WantedTensor {
  const [count, ...row] = tensor.shape;
  const refuse = (problem: string): MillraceError =>
    new MillraceError("MILLRACE_CONFIG", `rows of tensor ${quoted(tensor.name)}: ${problem}`);
  if (count === undefined) throw refuse("it is a scalar, and has none");
  const { from = 0, to = count } = rows;
  if (!(Number.isInteger(from) && Number.isInteger(to) && 0 <= from && from <= to && to <= count))
    throw refuse(`${from} to ${to} are not among its ${count}`);
  const rowBits = row.reduce((product, dimension) => product * dimension, DTYPES.get(tensor.dtype)!.bits);
  if ((from * rowBits) % 8 !== 0 || (to * rowBits) % 8 !== 0)
    throw refuse(`${from} to ${to} of ${rowBits} bits each (${tensor.dtype}) do not begin and end at whole bytes`);
  return { ...tensor, shape: [to - from, ...row], begin: tensor.begin + (from * rowBits) / 8, end: tensor.begin + (to * rowBits) / 8 };
}

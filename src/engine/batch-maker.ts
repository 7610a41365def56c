/** What turns the records of a loader's batches into columns: this thread, or decode workers. */
import type { Fields } from "../api.js";
import type { BlockCache } from "../cache/tier-chain.js";
import { MillraceError } from "../errors.js";
import { type AssembledBatch, Assembler, type AssembleSpec } from "../loader/assemble.js";
import { BatchRows, RowCursor } from "../loader/batch-rows.js";
import { fieldPlans, missing } from "../loader/fit.js";
import { Piece } from "../loader/piece.js";
import type { OpenLoader } from "../loader/protocol.js";
import type { Rows } from "../loader/rows.js";
import type { BatchMaker } from "../loader/run.js";
import { sampleError } from "../loader/sample-error.js";
import { cpuLimit } from "../util/cgroup.js";
import { unlessAborted } from "../util/unless-aborted.js";
import type { EngineDataset } from "./datasets.js";
import { DecodePool } from "./decode-pool.js";
import { loadDecoder } from "./load-decoder.js";

export interface ClosableMaker extends BatchMaker {
  /** Memory of batches that the loop has given back. */
  recycle(buffers: ArrayBuffer[]): void;
  close(): Promise<void>;
}

/** One CPU is left to the loop and the engine; more workers than this only wait for the origin. */
const MOST_WORKERS = 16;

/** Resolves when the first decode worker has loaded the decoder. Throws MILLRACE_CONFIG for a decoder that cannot be loaded. */
export async function openMaker(request: OpenLoader, dataset: EngineDataset, signal: AbortSignal): Promise<ClosableMaker> {
  const { config, decoder } = request;
  const spec: AssembleSpec = { ...assembleSpec(dataset), onError: config.onError, recycle: config.recycle };
  if (decoder === undefined) return new ThreadMaker(spec);
  const { seed, timeoutMs } = { seed: config.shuffle === false ? 0 : config.shuffle.seed, timeoutMs: config.decodeTimeoutMs };
  const workers = config.workers === "auto" ? Math.min(MOST_WORKERS, Math.max(1, cpuLimit() - 1)) : config.workers;
  if (workers === 0) {
    // The module may wait for ever at its top level.
    const loaded = await unlessAborted(loadDecoder(decoder.url, decoder.output), signal, "Loading the decoder");
    return new ThreadMaker({ ...spec, decode: { decoder: loaded, args: decoder.args, seed, timeoutMs } });
  }
  const setup = { ...spec, format: spec.format.name, manifest: dataset.manifest.toShared(), decoder, seed, timeoutMs };
  return new PoolMaker(await DecodePool.start(workers, setup, signal));
}

/** Makes batches on the engine's own thread. */
class ThreadMaker implements ClosableMaker {
  readonly width = 0;
  readonly #assembler: Assembler;

  constructor(spec: AssembleSpec) {
    this.#assembler = new Assembler(spec);
  }

  make(rows: BatchRows, padding: number, epoch: number, signal: AbortSignal): Promise<AssembledBatch> {
    return this.#assembler.assemble({ rows, padding, epoch, signal });
  }

  recycle(buffers: ArrayBuffer[]): void {
    this.#assembler.memory.give(buffers);
  }

  async close(): Promise<void> {}
}

/** Makes batches in decode workers. */
class PoolMaker implements ClosableMaker {
  readonly width: number;
  readonly #pool: DecodePool;

  constructor(pool: DecodePool) {
    this.width = pool.width;
    this.#pool = pool;
  }

  make(rows: BatchRows, padding: number, epoch: number, signal: AbortSignal): Promise<AssembledBatch> {
    return this.#pool.decode({ rows, padding, epoch, signal });
  }

  recycle(buffers: ArrayBuffer[]): void {
    this.#pool.recycle(buffers);
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

function assembleSpec(dataset: EngineDataset): AssembleSpec {
  const { format, fields, manifest } = dataset;
  return { format, fields, classes: manifest.classes, root: manifest.root(0), onError: "throw", decode: undefined, recycle: false };
}

/** Some rows of a view, read at once: what `dataset.get` does. */
export async function readRows(
  dataset: EngineDataset,
  rows: Rows,
  wanted: Float64Array,
  cache: BlockCache,
  signal: AbortSignal,
): Promise<AssembledBatch> {
  const { manifest, object } = dataset;
  const source = { manifest, rows, cache, object, served: () => {} };
  const pieces = Array.from(wanted, (row) => new Piece(source, row, 1, [row]));
  const fetched = await Promise.allSettled(pieces.map((piece) => piece.fetch(0, signal)));
  try {
    for (const result of fetched) if (result.status === "rejected") throw result.reason;
    const batch = new BatchRows(manifest, wanted.length);
    for (const row of wanted) batch.add(row);
    for (let i = 0; i < pieces.length; i++) pieces[i]!.place(batch, i);
    return await new Assembler(assembleSpec(dataset)).assemble({ rows: batch, padding: 0, epoch: 0, signal });
  } finally {
    for (const piece of pieces) piece.release();
  }
}

/**
 * The dataset's fields: those declared, tried on the first record so that a mistake shows before training starts; else what the
 * format says of the first record. Throws MILLRACE_FORMAT, MILLRACE_CORRUPT.
 */
export async function probeFields(
  dataset: Omit<EngineDataset, "fields">,
  declared: Fields | undefined,
  cache: BlockCache,
  signal: AbortSignal,
): Promise<Fields> {
  const { manifest, format, object } = dataset;
  const rows = dataset.rows([]);
  const piece = new Piece({ manifest, rows, cache, object, served: () => {} }, 0, 1, [0]);
  await piece.fetch(0, signal);
  try {
    const batch = new BatchRows(manifest, 1);
    batch.add(0);
    piece.place(batch, 0);
    const record = new RowCursor(batch, manifest.classes);
    if (declared !== undefined) {
      // Read for its declared fields only, a record cannot tell which others it has; here it can, and that shows the mistake.
      const found = Object.keys(format.fields(record, undefined));
      const absent = fieldPlans(declared).find(({ name, optional }) => !optional && !found.includes(name));
      if (absent !== undefined) throw sampleError(missing(absent, found), record, manifest.root(0));
      const spec = assembleSpec({ ...dataset, fields: declared });
      await new Assembler(spec).assemble({ rows: batch, padding: 0, epoch: 0, signal });
      return declared;
    }
    const fields = format.defaultFields(record);
    if (Object.keys(fields).length === 0)
      throw new MillraceError("MILLRACE_FORMAT", `${dataset.name}: the first record has no fields; declare them with the option fields`);
    return fields;
  } finally {
    piece.release();
  }
}

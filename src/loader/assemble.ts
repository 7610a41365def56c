/**
 * From the records of one batch to its columns, with or without a decoder, on whatever thread this runs:
 * record bytes, to the format's fields, to the decoder's result where there is one, to columns.
 */
import type { Decoder, Fields } from "../api.js";
import { MillraceError, throwIfAborted } from "../errors.js";
import type { RawSample, RecordFormat } from "../formats/format.js";
import { fieldNames, setField } from "../formats/raw-sample.js";
import { freeBuffers } from "../util/free-buffers.js";
import { BatchMemory } from "./batch-memory.js";
import { type BatchRows, RowCursor } from "./batch-rows.js";
import { columnBuilder } from "./columns.js";
import { sampleValue } from "./field-value.js";
import { type FieldPlan, fieldPlans, missing } from "./fit.js";
import { DecodeContext } from "./sample-context.js";
import { isSampleFailure, sampleError } from "./sample-error.js";
import { isPromise, settled } from "./settled.js";
import { type ColumnBuilder, columnBuffers, type WireColumn } from "./wire-column.js";

/** A decoder and what it is run with. */
export interface DecodeSpec {
  readonly decoder: Pick<Decoder<never, Fields, never>, "output" | "run"> & Partial<Pick<Decoder<never, Fields, never>, "keepsNothing">>;
  readonly args: unknown;
  readonly seed: number;
  /** Longest time one sample may take, milliseconds. Holds for promises; the pool of workers holds the others to it. */
  readonly timeoutMs: number;
}

/** What all batches of a loader have in common. */
export interface AssembleSpec {
  readonly format: Pick<RecordFormat, "name" | "fields">;
  /** The declared fields of the dataset. */
  readonly fields: Fields;
  readonly classes: readonly string[] | undefined;
  /** URI of the store that the shards are in, for messages. */
  readonly root: string;
  readonly onError: "throw" | "skip";
  readonly decode: DecodeSpec | undefined;
  /** True where the loop gives the memory of batches back. */
  readonly recycle: boolean;
}

export interface BatchInput {
  /** Real rows, then those that pad. */
  readonly rows: BatchRows;
  /** How many rows at the end only pad. */
  readonly padding: number;
  readonly epoch: number;
  readonly signal?: AbortSignal | undefined;
  /** Rows to leave out, unmentioned. */
  readonly without?: ReadonlySet<number> | undefined;
  /** Called before each row is worked on. May throw to end the work. */
  readonly onRow?: ((row: number) => void) | undefined;
}

export interface SkippedSample {
  readonly key: string;
  readonly index: number;
  readonly code: string;
  readonly message: string;
}

/** A batch as it crosses threads. */
export interface AssembledBatch {
  /** Real rows. */
  readonly size: number;
  /** Rows after them that pad. */
  readonly padding: number;
  /** Of all rows, padding too. */
  readonly indices: Float64Array;
  readonly columns: Readonly<Record<string, WireColumn>>;
  /** Of the columns' memory. */
  readonly byteLength: number;
  /** Real rows that were left out. */
  readonly skipped: readonly SkippedSample[];
}

/** Frames and other fields take a share of a record that differs a little from batch to batch. */
const SHARE_MARGIN = 1 + 1 / 32;

/** Of a first batch it is only known that a column holds no more than its records do, and they may be large beside it. */
const MOST_GUESSED = 256 * 2 ** 20;

/** The batch's memory: the transfer list that it must be posted with (32 MiB cost 117 ms without). */
export function batchBuffers(batch: AssembledBatch): ArrayBuffer[] {
  return [batch.indices.buffer as ArrayBuffer, ...Object.values(batch.columns).flatMap(columnBuffers)];
}

/** Assembles the batches of one loader. Several may be in the making at once. */
export class Assembler {
  /** Buffers that the loop has given back go in here. */
  readonly memory: BatchMemory;
  readonly #spec: AssembleSpec;
  readonly #input: readonly FieldPlan[];
  readonly #output: readonly FieldPlan[];
  readonly #wanted: ReadonlySet<string>;
  /** Memory of a sample is freed once it is decoded, where the decoder keeps nothing of it; JSON of its own is kept as it is, and may hold some. */
  readonly #freeing: boolean;
  /** Of each column of bytes, its bytes by those of the records, as the last batch had them: how much memory the next one will take. */
  readonly #shares: (number | undefined)[] = [];

  /** Throws MILLRACE_CONFIG for fields that cannot be. */
  constructor(spec: AssembleSpec) {
    this.#spec = spec;
    this.memory = new BatchMemory(spec.recycle);
    this.#input = fieldPlans(spec.fields);
    this.#output = spec.decode === undefined ? this.#input : fieldPlans(spec.decode.decoder.output, "decode: output");
    this.#wanted = new Set(Object.keys(spec.fields));
    this.#freeing = spec.decode?.decoder.keepsNothing === true && this.#output.every(({ kind }) => kind !== "json");
  }

  /**
   * Throws MILLRACE_ABORTED, and for one sample, named in the error, MILLRACE_CORRUPT, MILLRACE_FORMAT, MILLRACE_DECODE and
   * MILLRACE_TIMEOUT; with `onError: "skip"` those leave the sample's row out.
   */
  async assemble(input: BatchInput): Promise<AssembledBatch> {
    const { rows, signal } = input;
    throwIfAborted(signal, "Assembling a batch");
    const recordBytes = rows.byteLength;
    const source = this.#spec.decode === undefined ? "record" : "decoder";
    const work = new BatchWork(
      this.#output.map((plan, i) => columnBuilder(plan, rows.count, source, this.memory, this.#expectedBytes(i, recordBytes))),
      input,
    );
    // Both are filled anew for each row: without a decoder nothing is made for one but views of its bytes.
    const record = new RowCursor(rows, this.#spec.classes);
    const sample: RawSample = {};
    for (let row = 0; row < rows.count; row++) {
      if (input.without?.has(row)) continue;
      input.onRow?.(row);
      throwIfAborted(signal, "Assembling a batch");
      record.row = row;
      for (const { name } of this.#input) setField(sample, name, undefined);
      try {
        const raw = this.#spec.format.fields(record, this.#wanted, sample);
        if (this.#spec.decode === undefined) work.push(this.#output, raw, record);
        else await this.#decode(this.#spec.decode, work, raw, record);
      } catch (error) {
        const failure = sampleError(error, record, this.#spec.root);
        if (this.#spec.onError !== "skip" || !isSampleFailure(failure)) throw failure;
        work.skip(record, failure);
      }
    }
    const batch = work.finish(this.#output);
    if (recordBytes > 0) this.#learn(batch, recordBytes);
    return batch;
  }

  #expectedBytes(column: number, recordBytes: number): number {
    const share = this.#shares[column];
    return share === undefined ? Math.min(recordBytes, MOST_GUESSED) : Math.ceil(recordBytes * share);
  }

  #learn({ columns }: AssembledBatch, recordBytes: number): void {
    for (let i = 0; i < this.#output.length; i++) {
      const column = columns[this.#output[i]!.name]!;
      if (column.kind === "bytes") this.#shares[i] = (column.values.length / recordBytes) * SHARE_MARGIN;
    }
  }

  async #decode(decode: DecodeSpec, work: BatchWork, raw: RawSample, record: RowCursor): Promise<void> {
    const context = new DecodeContext(record.key, record.index, work.input.epoch, decode.seed, decode.args);
    const lent: ArrayBuffer[] = [];
    const sample = this.#sample(raw, lent);
    let result: unknown;
    try {
      result = decode.decoder.run(sample as never, context as never);
      if (isPromise(result)) result = await settled(result, context, decode.timeoutMs, work.input.signal);
    } catch (cause) {
      // Ours tell what to do already: a time-out, an abort, a missing package.
      if (cause instanceof MillraceError) throw cause;
      throw new MillraceError("MILLRACE_DECODE", `the decoder failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
        cause,
      });
    }
    if (typeof result !== "object" || result === null)
      throw new MillraceError(
        "MILLRACE_DECODE",
        `the decoder returned ${result === null ? "null" : typeof result}, not an object of its output fields`,
      );
    try {
      work.push(this.#output, result as RawSample, record);
    } catch (cause) {
      throw new MillraceError("MILLRACE_DECODE", `the decoder's result does not fit its output: ${(cause as Error).message}`, { cause });
    }
    // Only after success: what failed may have left something at work.
    if (this.#freeing) freeBuffers(lent);
  }

  /** The sample as user code gets it: nothing in it is memory of the cache. Its buffers are added to `lent`. */
  #sample(raw: RawSample, lent: ArrayBuffer[]): Record<string, unknown> {
    const sample: Record<string, unknown> = {};
    for (const plan of this.#input) {
      const value = raw[plan.name];
      if (value === undefined && !plan.optional) throw missing(plan, fieldNames(raw));
      const own = sampleValue(plan, value);
      if (ArrayBuffer.isView(own)) lent.push(own.buffer as ArrayBuffer);
      sample[plan.name] = own;
    }
    return sample;
  }
}

/** One batch in the making. */
class BatchWork {
  readonly input: BatchInput;
  readonly #builders: readonly ColumnBuilder[];
  readonly #indices: Float64Array;
  readonly #skipped: SkippedSample[] = [];
  #rows = 0;
  #padding = 0;

  constructor(builders: readonly ColumnBuilder[], input: BatchInput) {
    this.#builders = builders;
    this.input = input;
    this.#indices = new Float64Array(input.rows.count);
  }

  push(plans: readonly FieldPlan[], sample: RawSample, { row, index }: RowCursor): void {
    try {
      for (let i = 0; i < plans.length; i++) this.#builders[i]!.push(sample[plans[i]!.name], sample);
    } catch (error) {
      for (const builder of this.#builders) builder.truncate(this.#rows);
      throw error;
    }
    this.#indices[this.#rows++] = index;
    if (this.#pads(row)) this.#padding++;
  }

  /** A row that pads is counted where it is a row of its own. */
  skip({ row, key, index }: RowCursor, { code, message }: MillraceError): void {
    if (!this.#pads(row)) this.#skipped.push({ key, index, code, message });
  }

  finish(plans: readonly FieldPlan[]): AssembledBatch {
    const columns: Record<string, WireColumn> = {};
    let byteLength = 0;
    for (let i = 0; i < plans.length; i++) {
      const column = this.#builders[i]!.finish();
      columns[plans[i]!.name] = column;
      for (const buffer of columnBuffers(column)) byteLength += buffer.byteLength;
    }
    const indices = this.#indices.slice(0, this.#rows);
    return { size: this.#rows - this.#padding, padding: this.#padding, indices, columns, byteLength, skipped: this.#skipped };
  }

  #pads(row: number): boolean {
    return row >= this.input.rows.count - this.input.padding;
  }
}

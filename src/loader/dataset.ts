/** A dataset, or a selection of one, on the caller's side. Everything but the reading itself is known here, without asking. */
import { createHash } from "node:crypto";
import type { Dataset, Decoder, Fields, Loader, LoaderOptions, SampleOf } from "../api.js";
import { MillraceError } from "../errors.js";
import type { Manifest } from "../formats/manifest.js";
import { formatBytes } from "../util/byte-size.js";
import type { AssembledBatch } from "./assemble.js";
import { Batch } from "./batch.js";
import { DatasetLoader, type LoaderSetup } from "./loader.js";
import { loaderConfig } from "./loader-options.js";
import { orderOf, type ViewSizes, viewSizes } from "./order-facts.js";
import type { EngineClient, OpenedDataset } from "./protocol.js";
import { buildRows, type Rows, type RowsStep } from "./rows.js";
import { splitWeights } from "./rows-split.js";
import { loaderState } from "./state.js";

/** Iterating over samples reads batches of about this many bytes. */
const SAMPLE_BATCH_BYTES = 4 * 2 ** 20;
const MOST_SAMPLES_AT_ONCE = 256;

export interface DatasetSource {
  readonly engine: EngineClient;
  readonly opened: OpenedDataset;
  readonly manifest: Manifest;
  /** What the caller asked for, for messages. */
  readonly name: string;
  readonly warn: (fields: object, message: string) => void;
}

export class DatasetView<F> implements Dataset<F> {
  readonly fields: F;
  readonly sampleCount: number;
  readonly fingerprint: string;
  readonly #source: DatasetSource;
  readonly #steps: readonly RowsStep[];
  readonly #rows: Rows;
  #sizes: ViewSizes | undefined;

  constructor(source: DatasetSource, steps: readonly RowsStep[]) {
    this.#source = source;
    this.#steps = steps;
    this.#rows = buildRows(source.manifest, steps);
    this.fields = source.opened.fields as F;
    this.sampleCount = this.#rows.count;
    this.fingerprint = viewFingerprint(source.manifest.fingerprint, steps);
  }

  get byteLength(): number {
    return this.#steps.length === 0 ? this.#source.manifest.byteLength : this.#rowSizes().byteLength;
  }

  get shardCount(): number {
    return this.#source.manifest.shardCount;
  }

  get classes(): readonly string[] | undefined {
    return this.#source.manifest.classes;
  }

  key(index: number): string {
    return this.#source.manifest.key(this.#rows.base(this.#checked(index)));
  }

  async get(index: number, options: { signal?: AbortSignal | undefined } = {}): Promise<SampleOf<F>> {
    const request = { datasetId: this.#source.opened.datasetId, steps: this.#steps, rows: Float64Array.of(this.#checked(index)) };
    const assembled = (await this.#source.engine.call("readRows", request, options)) as AssembledBatch;
    const state = loaderState(this.fingerprint, "", { epoch: 0, position: 0 });
    const batch = new Batch<F>(assembled, {
      epoch: 0,
      step: 0,
      fields: this.fields as Fields,
      state,
      key: (row) => this.key(row),
      recycle: undefined,
    });
    return batch.samples()[Symbol.iterator]().next().value as SampleOf<F>;
  }

  take(count: number): Dataset<F> {
    return this.#view({ take: count });
  }

  select(rows: readonly number[] | { from: number; to: number }): Dataset<F> {
    return this.#view("from" in rows ? { range: { from: rows.from, to: rows.to } } : { list: Float64Array.from(rows) });
  }

  split<const P extends Record<string, number>>(
    parts: P,
    options: { seed: number; by?: "sample" | "shard" | undefined },
  ): { [K in keyof P]: Dataset<F> } {
    const { names, weights } = splitWeights(parts);
    if (!Number.isSafeInteger(options?.seed)) throw new MillraceError("MILLRACE_CONFIG", "split: seed: expected an integer");
    const views = names.map((name, part) => [
      name,
      this.#view({ part: { seed: options.seed, by: options.by ?? "sample", weights, part } }),
    ]);
    return Object.fromEntries(views) as { [K in keyof P]: Dataset<F> };
  }

  loader<G = F>(options: LoaderOptions & { decode?: Decoder<SampleOf<F>, G, never>; decodeArgs?: unknown }): Loader<G> {
    const config = loaderConfig(options);
    if (this.sampleCount === 0) throw new MillraceError("MILLRACE_CONFIG", `${this.#source.name}: this selection has no samples to load`);
    const decoder = options.decode && { url: options.decode.url, output: options.decode.output as Fields, args: options.decodeArgs };
    const order = orderOf(this.#source.manifest, this.#rows, config, this.#rowSizes());
    if (order.mode === "window" && order.lanes % config.worldSize !== 0 && config.rank === 0)
      this.#source.warn(
        { lanes: order.lanes, worldSize: config.worldSize },
        `lanes: ${order.lanes} is no multiple of worldSize ${config.worldSize}: the order is the same, but every rank reads every chunk (${formatBytes(this.byteLength)} each); choose lanes as a multiple`,
      );
    const setup: LoaderSetup = {
      engine: this.#source.engine,
      open: { datasetId: this.#source.opened.datasetId, steps: this.#steps, config, decoder },
      order,
      sampleCount: this.sampleCount,
      fingerprint: this.fingerprint,
      fields: decoder?.output ?? (this.fields as Fields),
      key: (index) => this.key(index),
    };
    return new DatasetLoader<G>(setup, options);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<SampleOf<F>, void, undefined> {
    if (this.sampleCount === 0) return;
    const mean = Math.max(1, this.byteLength / this.sampleCount);
    const batchSize = Math.max(1, Math.min(MOST_SAMPLES_AT_ONCE, Math.floor(SAMPLE_BATCH_BYTES / mean)));
    const loader = this.loader({ batchSize, remainder: "keep" });
    try {
      for await (const batch of loader.epoch(0)) yield* batch.samples();
    } finally {
      await loader.close();
    }
  }

  /** Found once: every loader of the view asks for them. */
  #rowSizes(): ViewSizes {
    this.#sizes ??= viewSizes(this.#source.manifest, this.#rows);
    return this.#sizes;
  }

  #view(step: RowsStep): Dataset<F> {
    return new DatasetView<F>(this.#source, [...this.#steps, step]);
  }

  #checked(index: number): number {
    if (!Number.isInteger(index) || index < 0 || index >= this.sampleCount)
      throw new MillraceError("MILLRACE_CONFIG", `index: ${index} is not a sample of 0 to ${this.sampleCount - 1}`);
    return index;
  }
}

function viewFingerprint(manifest: string, steps: readonly RowsStep[]): string {
  if (steps.length === 0) return manifest;
  const hash = createHash("sha256").update(manifest);
  for (const step of steps) hash.update("list" in step ? new Uint8Array(step.list.buffer) : JSON.stringify(step));
  return hash.digest("hex");
}

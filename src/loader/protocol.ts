/** What the loader's two sides say to each other: `loader.ts` and `dataset.ts` on the caller's thread, `run.ts` on the engine's. */
import type { Fields, LoaderStats } from "../api.js";
import type { ManifestBuffers } from "../formats/manifest.js";
import type { AssembledBatch } from "./assemble.js";
import type { LoaderConfig } from "./loader-options.js";
import type { RowsStep } from "./rows.js";

/** The caller's side of the connection to the engine. */
export interface EngineClient {
  call(
    method: string,
    args: unknown,
    options?: {
      signal?: AbortSignal | undefined;
      onProgress?: ((value: never) => void) | undefined;
      transfer?: readonly Transferable[] | undefined;
      background?: boolean | undefined;
    },
  ): Promise<unknown>;
  /** Keeps the process alive until what it returns is called. */
  hold(): () => void;
}
export type Transferable = import("node:worker_threads").Transferable;

export interface OpenDataset {
  readonly source: string | readonly string[];
  readonly format: string | undefined;
  readonly fields: Fields | undefined;
  readonly classes: readonly string[] | undefined;
  readonly onError: "throw" | "skip";
}
export interface OpenedDataset {
  readonly datasetId: number;
  readonly manifest: ManifestBuffers;
  readonly fields: Fields;
}
/** Some rows of a view, as one batch. */
export interface ReadRows {
  readonly datasetId: number;
  readonly steps: readonly RowsStep[];
  readonly rows: Float64Array;
}
export interface DecoderRef {
  readonly url: string;
  readonly output: Fields;
  readonly args: unknown;
}
export interface OpenLoader {
  /** The caller's number for it, so that it can be closed whatever became of its opening. */
  readonly loaderId: number;
  readonly datasetId: number;
  readonly steps: readonly RowsStep[];
  readonly config: LoaderConfig;
  readonly decoder: DecoderRef | undefined;
}
/** Batches from a position of one epoch to the end of the last epoch before `until`, over a port of their own. */
export interface RunLoader {
  readonly loaderId: number;
  readonly epoch: number;
  readonly position: number;
  readonly until: number;
  readonly port: import("node:worker_threads").MessagePort;
}
/** The first steps of an epoch, to be fetched before anyone asks for them. */
export interface PrefetchSteps {
  readonly loaderId: number;
  readonly epoch: number;
  readonly steps: number | undefined;
}

/** What the engine knows of a run, for `loader.stats()`: totals since the loader was opened. */
export type EngineLoaderStats = Pick<LoaderStats, "bytes" | "originRequests" | "skipped" | "readAhead">;

/** Before anything was read. */
export const NO_STATS: EngineLoaderStats = {
  bytes: { memory: 0, disk: 0, peer: 0, origin: 0 },
  originRequests: 0,
  skipped: 0,
  readAhead: { depthBytes: 0, inFlight: 0, reason: "nothing was read yet" },
};

export interface BatchMessage {
  readonly t: "batch";
  readonly epoch: number;
  readonly step: number;
  /** Where the epoch's order stands after this batch; 0 of the next epoch after the last. */
  readonly next: { readonly epoch: number; readonly position: number };
  /** This rank has no further batch in the epoch. */
  readonly last: boolean;
  readonly batch: AssembledBatch;
  readonly stats: EngineLoaderStats;
}
export type RunMessage = BatchMessage | { readonly t: "end"; readonly stats: EngineLoaderStats };
/** From the caller: room for more batches, the loop waits for one, memory given back, or no more please. */
export type RunControl =
  | { readonly t: "credit"; readonly count: number }
  | { readonly t: "waiting"; readonly received: number }
  | { readonly t: "recycle"; readonly buffers: ArrayBuffer[] }
  | { readonly t: "stop" };

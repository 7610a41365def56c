/**
 * A run: batches of one rank, from a place of one epoch to the end of the last, made as fast as they are asked for.
 *
 * Order says which sample each row is; read-ahead fetches the pieces that hold them, on into the next epoch; a maker turns a batch's
 * records into columns, on this thread or in decode workers. Several batches are in the making where there are workers; they leave in order.
 */

import { EpochOrder } from "../order/epoch-order.js";
import type { OrderSpec } from "../order/spec.js";
import { type StepPlan, stepPlan } from "../order/steps.js";
import type { ReadAheadBudget } from "../readahead/budget.js";
import type { DepthRule } from "../readahead/depth.js";
import { explain } from "../readahead/explain.js";
import { Scheduler } from "../readahead/scheduler.js";
import type { OriginStore } from "../storage/origin-store.js";
import type { AssembledBatch } from "./assemble.js";
import { BatchRows } from "./batch-rows.js";
import type { LoaderConfig } from "./loader-options.js";
import { anyCompressed } from "./order-facts.js";
import { Piece, type PieceSource } from "./piece.js";
import { EpochPieces } from "./pieces.js";
import type { Place } from "./state.js";

/** What turns records into columns. The rows' bytes are held memory, valid until the promise settles. */
export interface BatchMaker {
  /** Batches it can work on at once beside this thread; 0: it works on this thread. */
  readonly width: number;
  make(rows: BatchRows, padding: number, epoch: number, signal: AbortSignal): Promise<AssembledBatch>;
}

export interface RunSetup {
  readonly source: PieceSource;
  readonly order: OrderSpec;
  readonly config: LoaderConfig;
  readonly maker: BatchMaker;
  /** The loader's, so that a run begins with what the one before it has learned. */
  readonly depth: DepthRule;
  /** What all loaders of the engine share; undefined where the depth is the caller's own budget. */
  readonly budget: ReadAheadBudget | undefined;
}

export interface MadeBatch {
  readonly epoch: number;
  readonly step: number;
  readonly next: Place;
  /** This rank has no further batch in the epoch; another may have one more (`remainder: "keep"`). */
  readonly last: boolean;
  readonly batch: AssembledBatch;
}

/** One epoch of a run, or what is left of it. */
interface EpochWork {
  readonly number: number;
  readonly order: EpochOrder;
  readonly plan: StepPlan;
  readonly pieces: EpochPieces;
}

/**
 * Bytes of the chunks of which a first batch's samples are fetched apart. Of shorter ones the rest takes 3 ms at 90 MB/s, and another request is not
 * worth less. Longer ones are about as long as a request at its best, and a hole makes two of it: 18 requests a GB more with 4 GB.
 */
const APART_BYTES = { least: 256 * 1024, most: 4 * 2 ** 20 } as const;
/** Of a run's first pieces, those that come before read-ahead begins: sooner it would take bandwidth from the last ones, later it would leave the line idle. */
const FIRST_PIECES = 3 / 4;

/** The rows of a batch in the making, and the piece that each is of. Used again for another batch. */
interface Taken {
  readonly rows: BatchRows;
  readonly pieces: Piece[];
}

export class Run {
  readonly #setup: RunSetup;
  readonly #signal: AbortSignal;
  readonly #start: Place;
  readonly #until: number;
  readonly #epochs = new Map<number, EpochWork>();
  /** The epoch whose batches are in the making. */
  #loopEpoch: number;
  readonly #scheduler: Scheduler;
  readonly #spare: Taken[] = [];
  /** Of the first batch; resolves when most of its bytes are there. */
  #opening: Promise<void> | undefined;
  /** One for all: the shards of a dataset are of one origin as a rule. */
  readonly #store: OriginStore;

  /** `signal` ends the run: waits reject, and no batch is made after it. `loopStalled`: whether the loop waits for a batch now. */
  constructor(setup: RunSetup, start: Place, until: number, signal: AbortSignal, loopStalled: () => boolean) {
    this.#setup = setup;
    this.#signal = signal;
    this.#start = start;
    this.#loopEpoch = start.epoch;
    this.#until = until;
    this.#store = setup.source.object(0).store;
    this.#scheduler = new Scheduler(this.#pieces(), setup.depth, { budget: setup.budget, loopStalled });
  }

  get readAhead(): { readonly depthBytes: number; readonly inFlight: number; readonly reason: string } {
    const { depthBytes, inFlight, reason } = this.#scheduler.stats();
    return { depthBytes, inFlight, reason: explain(reason, this.#store.pace?.()) };
  }

  /** Batches in order. Ending the iteration early, or the signal, gives all memory back. */
  async *batches(): AsyncGenerator<MadeBatch, void, undefined> {
    if (this.#signal.aborted) return this.#scheduler.abort();
    const making: Promise<MadeBatch>[] = [];
    const stop = () => this.#scheduler.abort();
    this.#signal.addEventListener("abort", stop, { once: true });
    try {
      for (const { epoch, step } of this.#steps()) {
        const made = this.#make(epoch, step);
        // Awaited when its turn comes; until then its failure must not count as unhandled.
        made.catch(() => {});
        making.push(made);
        if (making.length > this.#setup.maker.width) yield await making.shift()!;
      }
      while (making.length > 0) yield await making.shift()!;
    } finally {
      this.#signal.removeEventListener("abort", stop);
      this.#scheduler.abort();
      // Batches in the making still read the memory that close gives back.
      await Promise.allSettled(making);
      await this.#scheduler.close();
    }
  }

  *#steps(): Generator<{ epoch: EpochWork; step: number }, void, undefined> {
    for (let number = this.#start.epoch; number < this.#until; number++) {
      this.#loopEpoch = number;
      const epoch = this.#epoch(number);
      for (let step = epoch.plan.firstStep; step < epoch.plan.steps; step++) yield { epoch, step };
      this.#epochs.delete(number);
    }
  }

  /** Goes no further than the epoch after the loop's: more would hold small datasets many times over, and plan for ever where samples have no bytes. */
  *#pieces(): Generator<Piece | undefined, void, undefined> {
    for (let number = this.#start.epoch; number < this.#until; number++) {
      while (number > this.#loopEpoch + 1) yield undefined;
      const { pieces } = this.#epoch(number);
      for (let next = pieces.next(); next.done !== true; next = pieces.next()) yield next.value;
    }
  }

  /** Made by whoever gets there first: the read-ahead as a rule. */
  #epoch(number: number): EpochWork {
    let epoch = this.#epochs.get(number);
    if (epoch === undefined) {
      const { order: spec, source, config } = this.#setup;
      const { batchSize, worldSize, rank } = config;
      const fromPosition = number === this.#start.epoch ? this.#start.position : 0;
      const plan = stepPlan({ ...config, sampleCount: spec.chunks.sampleCount, fromPosition });
      const end = fromPosition + Math.max(0, plan.steps - plan.firstStep) * batchSize * worldSize;
      const mine = (position: number) => position < end && (position - fromPosition) % worldSize === rank;
      const order = new EpochOrder(spec, number);
      const soonUntil = number === this.#start.epoch && this.#cutsChunks() ? fromPosition + batchSize * worldSize : fromPosition;
      epoch = { number, order, plan, pieces: new EpochPieces(order, source, fromPosition, mine, soonUntil) };
      this.#epochs.set(number, epoch);
    }
    return epoch;
  }

  /** Whether a first batch's samples are fetched apart from the rest of their chunks. */
  #cutsChunks(): boolean {
    const { source, order } = this.#setup;
    const { manifest } = source;
    const chunkBytes = ((order.chunks.uniformSize ?? 0) * manifest.byteLength) / manifest.sampleCount;
    return chunkBytes >= APART_BYTES.least && chunkBytes <= APART_BYTES.most && !anyCompressed(manifest);
  }

  async #make(epoch: EpochWork, step: number): Promise<MadeBatch> {
    const { size, padding } = epoch.plan.rows(step);
    // All rows are taken before the first wait: the next batch, made meanwhile, takes those after them.
    const taken = this.#take(epoch, step, size + padding);
    const { rows, pieces } = taken;
    await this.#fetched(pieces, size);
    for (let row = 0; row < rows.count; row++) pieces[row]!.place(rows, row);
    const batch = await this.#setup.maker.make(rows, padding, epoch.number, this.#signal);
    for (const piece of pieces) if (piece.used()) this.#scheduler.done(piece);
    rows.clear();
    pieces.length = 0;
    this.#spare.push(taken);
    this.#scheduler.pump();
    const { position, nextEpoch } = epoch.plan.nextPosition(step);
    const next = nextEpoch ? { epoch: epoch.number + 1, position: 0 } : { epoch: epoch.number, position };
    return { epoch: epoch.number, step, next, last: step + 1 === epoch.plan.steps, batch };
  }

  #take(epoch: EpochWork, step: number, count: number): Taken {
    const { source, config } = this.#setup;
    const taken = this.#spare.pop() ?? { rows: new BatchRows(source.manifest, config.batchSize), pieces: [] };
    const again: number[] = [];
    for (let i = 0; i < count; i++) {
      const { position, padding } = epoch.plan.row(step, i);
      if (padding) again.push(epoch.order.sampleAt(position));
      else taken.pieces.push(epoch.pieces.take(position, taken.rows));
    }
    if (again.length > 0) this.#takeAgain(again, taken);
    return taken;
  }

  /** Padding rows repeat samples that other rows of the epoch have: they have pieces of their own, one for all of a chunk. */
  #takeAgain(rows: readonly number[], taken: Taken): void {
    const { source, order } = this.#setup;
    const { chunks } = order;
    const pieces = new Map<number, Piece>();
    for (const row of rows) {
      const chunk = chunks.of(row);
      if (pieces.has(chunk)) continue;
      const members = rows.filter((other) => chunks.of(other) === chunk).sort((a, b) => a - b);
      pieces.set(chunk, new Piece(source, chunks.first(chunk), chunks.size(chunk), members));
    }
    for (const row of rows) {
      taken.rows.add(row);
      taken.pieces.push(pieces.get(chunks.of(row))!);
    }
  }

  /** The first `planned` rows are of pieces that read-ahead knows of. */
  async #fetched(pieces: readonly Piece[], planned: number): Promise<void> {
    // Batches that decode workers will need next would take the first one's bandwidth.
    if (this.#opening !== undefined) await this.#opening;
    const waits = new Map<Piece, Promise<void> | undefined>();
    for (let row = 0; row < pieces.length; row++) {
      const piece = pieces[row]!;
      if (!piece.inUse && !waits.has(piece)) waits.set(piece, this.#scheduler.need(piece, row < planned));
    }
    this.#opening ??= mostOf([...waits.values()]);
    await Promise.all([...waits.values(), this.#opening.then(() => this.#scheduler.pump())]);
    for (const piece of waits.keys()) piece.taken();
  }
}

/** Resolves when three quarters of these have settled. */
function mostOf(waits: readonly (Promise<void> | undefined)[]): Promise<void> {
  let missing = Math.ceil(waits.length * FIRST_PIECES);
  return new Promise((resolve) => {
    const settled = (): void => {
      if (--missing <= 0) resolve();
    };
    if (missing === 0) resolve();
    for (const wait of waits) (wait ?? Promise.resolve()).then(settled, settled);
  });
}

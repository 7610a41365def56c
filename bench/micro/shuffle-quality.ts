/**
 * How well a window shuffle mixes, beside a full one, and what a look-up costs. 240,007 samples in chunks of 72, lying in order of 100
 * classes, as shards written class by class do: the hardest case. Batches of 256. The table is explained in docs/semantics.md.
 *
 *   npx tsx bench/micro/shuffle-quality.ts
 */
import { uniformChunks } from "../../src/order/chunks.js";
import { EpochOrder } from "../../src/order/epoch-order.js";
import type { OrderSpec } from "../../src/order/spec.js";

const SAMPLES = 240_007;
const CLASSES = 100;
const BATCH = 256;
const EPOCHS = 40;
const BINS = 50;

type Spec = Pick<OrderSpec, "mode" | "lanes" | "windowChunks"> & { readonly chunk: number };

const specOf = ({ chunk, ...spec }: Spec): OrderSpec => ({
  ...spec,
  chunks: uniformChunks(SAMPLES, chunk),
  seed: 11,
  id: "",
  windowBytes: 0,
  turnover: 0,
});

/** (chi-square − degrees of freedom) ÷ √(2 · degrees of freedom): within ±3 for uniform counts. */
function z(counts: Float64Array, expected: number): number {
  const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  return (chiSquare - (counts.length - 1)) / Math.sqrt(2 * (counts.length - 1));
}

/** Where each sample lies in the epoch's order. */
function positionsOf(spec: OrderSpec, epoch: number): Float64Array {
  const order = new EpochOrder(spec, epoch);
  const positions = new Float64Array(SAMPLES);
  for (let position = 0; position < SAMPLES; position++) positions[order.sampleAt(position)] = position;
  return positions;
}

/** Chi-square of where a sample lands, over epochs: 100 samples far apart, so that no two share a chunk. */
function landing(epochs: readonly Float64Array[]): number {
  const counts = new Float64Array(BINS);
  let total = 0;
  for (const positions of epochs)
    for (let sample = 50; sample < SAMPLES; sample += SAMPLES / CLASSES, total++)
      counts[Math.floor((positions[Math.floor(sample)]! * BINS) / SAMPLES)]!++;
  return z(counts, total / BINS);
}

/** Manifest neighbours that land in one batch ÷ how many do in a full shuffle. */
function neighbours(epochs: readonly Float64Array[]): number {
  let together = 0;
  for (const positions of epochs)
    for (let s = 1; s < SAMPLES; s++) if (Math.floor(positions[s]! / BATCH) === Math.floor(positions[s - 1]! / BATCH)) together++;
  return together / (epochs.length * (SAMPLES - 1) * ((BATCH - 1) / (SAMPLES - 1)));
}

/** Mean way from a sample's place in the manifest to that in the order, ÷ samples: 1/3 in a full shuffle. */
function displacement(epochs: readonly Float64Array[]): number {
  let sum = 0;
  for (const positions of epochs) for (let s = 0; s < SAMPLES; s++) sum += Math.abs(positions[s]! - s);
  return sum / epochs.length / SAMPLES / SAMPLES;
}

/** Distinct classes and the chi-square of class counts (÷ degrees of freedom: 1 is a random draw) of a batch, on average. */
function classMix(epochs: readonly Float64Array[]): { classes: number; chi: number } {
  let [classes, chi, batches] = [0, 0, 0];
  for (const positions of epochs) {
    const label = new Uint8Array(SAMPLES);
    for (let s = 0; s < SAMPLES; s++) label[positions[s]!] = Math.floor((s * CLASSES) / SAMPLES);
    for (let begin = 0; begin + BATCH <= SAMPLES; begin += BATCH, batches++) {
      const counts = new Float64Array(CLASSES);
      for (let i = begin; i < begin + BATCH; i++) counts[label[i]!]!++;
      classes += counts.filter((count) => count > 0).length;
      chi += counts.reduce((sum, count) => sum + (count - BATCH / CLASSES) ** 2 / (BATCH / CLASSES), 0) / (CLASSES - 1);
    }
  }
  return { classes: classes / batches, chi: chi / batches };
}

/** Pairs of one batch that meet again in a batch of the next epoch ÷ how many do in a full shuffle. */
function meetAgain(epochs: readonly Float64Array[]): number {
  let together = 0;
  const batchOf = (positions: Float64Array, sample: number) => Math.floor(positions[sample]! / BATCH);
  for (let e = 1; e < epochs.length; e++) {
    const bySlot = new Float64Array(SAMPLES);
    for (let s = 0; s < SAMPLES; s++) bySlot[epochs[e - 1]![s]!] = s;
    for (let begin = 0; begin + BATCH <= SAMPLES; begin += BATCH) {
      const met = new Map<number, number>();
      for (let i = begin; i < begin + BATCH; i++) {
        const batch = batchOf(epochs[e]!, bySlot[i]!);
        const before = met.get(batch) ?? 0;
        together += before;
        met.set(batch, before + 1);
      }
    }
  }
  const pairs = Math.floor(SAMPLES / BATCH) * ((BATCH * (BATCH - 1)) / 2) * (epochs.length - 1);
  return together / (pairs * ((BATCH - 1) / (SAMPLES - 1)));
}

function nanosecondsALookUp(spec: OrderSpec): number {
  const order = new EpochOrder(spec, 1);
  let best = Number.POSITIVE_INFINITY;
  for (let run = 0; run < 5; run++) {
    const begin = performance.now();
    for (let position = 0; position < SAMPLES; position++) order.sampleAt(position);
    best = Math.min(best, ((performance.now() - begin) / SAMPLES) * 1e6);
  }
  return best;
}

const configurations: readonly Spec[] = [
  { mode: "sequential", lanes: 1, windowChunks: 1, chunk: 72 },
  { mode: "window", lanes: 1, windowChunks: 2, chunk: 72 },
  { mode: "window", lanes: 1, windowChunks: 16, chunk: 72 },
  { mode: "window", lanes: 24, windowChunks: 1, chunk: 72 },
  { mode: "window", lanes: 24, windowChunks: 2, chunk: 72 },
  { mode: "window", lanes: 24, windowChunks: 4, chunk: 72 },
  { mode: "window", lanes: 24, windowChunks: 8, chunk: 72 },
  { mode: "window", lanes: 24, windowChunks: 16, chunk: 72 },
  { mode: "window", lanes: 24, windowChunks: 32, chunk: 72 },
  { mode: "global", lanes: 1, windowChunks: 256, chunk: 1 },
];
console.table(
  configurations.map((configuration) => {
    const spec = specOf(configuration);
    const epochs = Array.from({ length: EPOCHS }, (_, epoch) => positionsOf(spec, epoch));
    const few = epochs.slice(0, 4);
    const mix = classMix(few);
    return {
      mode: spec.mode,
      lanes: spec.lanes,
      window: spec.windowChunks,
      "landing z": landing(epochs).toFixed(1),
      displacement: displacement(few).toFixed(3),
      neighbours: neighbours(few).toFixed(1),
      classes: mix.classes.toFixed(1),
      "class chi²/df": mix.chi.toFixed(2),
      "meet again": meetAgain(few).toFixed(1),
      "ns a look-up": nanosecondsALookUp(spec).toFixed(0),
    };
  }),
);

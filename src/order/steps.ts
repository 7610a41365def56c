import { MillraceError } from "../errors.js";

export interface StepOptions {
  /** Samples of the epoch. */
  readonly sampleCount: number;
  /** Samples a batch, per rank. */
  readonly batchSize: number;
  readonly worldSize: number;
  readonly rank: number;
  readonly remainder: "drop" | "pad" | "keep";
  /** Position the epoch goes on from: 0, or that of the resumed state. */
  readonly fromPosition: number;
  /** Ends the epoch after this many steps. */
  readonly stepsPerEpoch?: number | undefined;
}

/**
 * Which positions of the global order each step of one rank takes. A global step is `batchSize × worldSize` positions from where the
 * epoch was started or resumed; rank r takes every worldSize-th of them, from the r-th.
 */
export interface StepPlan {
  /** Steps of the whole epoch for this rank, those before the resumed position included. */
  readonly steps: number;
  /** The first step to run; steps are numbered from the epoch's start. */
  readonly firstStep: number;
  /** Rows of a step: real ones first, then padding. */
  rows(step: number): { readonly size: number; readonly padding: number };
  /** Position of the step's i-th row in the epoch's order. A padding row repeats another position. */
  row(step: number, i: number): { readonly position: number; readonly padding: boolean };
  /** Where the run stands after the step; `nextEpoch`: at the start of the next epoch, since no rank has a further step in this one. */
  nextPosition(step: number): { readonly position: number; readonly nextEpoch: boolean };
}

/** Plans one rank's steps through one epoch. Throws MILLRACE_CONFIG where the ranks make no sense. */
export function stepPlan(options: StepOptions): StepPlan {
  const { sampleCount, batchSize, worldSize, rank, remainder, fromPosition, stepsPerEpoch = Number.POSITIVE_INFINITY } = options;
  checkRanks(options);
  const stride = batchSize * worldSize;
  const firstStep = Math.floor(fromPosition / stride);
  const left = sampleCount - fromPosition;
  const limit = Math.max(0, stepsPerEpoch - firstStep);
  /** Rows that are left for the rank that takes the positions ≡ `r`. */
  const rowsLeft = (r: number) => Math.max(0, Math.ceil((left - r) / worldSize));
  const stepsOf = {
    drop: () => Math.floor(left / stride),
    pad: () => Math.ceil(left / stride),
    keep: (r: number) => Math.ceil(rowsLeft(r) / batchSize),
  };
  const stepsLeft = (r: number) => Math.min(limit, stepsOf[remainder](r));
  const lastStep = firstStep + stepsLeft(0) - 1; // rank 0 never has fewer steps than another
  const size = (step: number) => Math.min(batchSize, Math.max(0, rowsLeft(rank) - (step - firstStep) * batchSize));
  return {
    steps: firstStep + stepsLeft(rank),
    firstStep,
    rows: (step) => ({ size: size(step), padding: remainder === "pad" ? batchSize - size(step) : 0 }),
    row: (step, i) => {
      const position = fromPosition + (step - firstStep) * stride + i * worldSize + rank;
      return position < sampleCount ? { position, padding: false } : { position: position % sampleCount, padding: true };
    },
    nextPosition: (step) =>
      step >= lastStep
        ? { position: 0, nextEpoch: true }
        : { position: Math.min(sampleCount, fromPosition + (step - firstStep + 1) * stride), nextEpoch: false },
  };
}

function checkRanks({ batchSize, worldSize, rank, sampleCount, fromPosition }: StepOptions): void {
  if (!Number.isSafeInteger(batchSize) || batchSize < 1)
    throw new MillraceError("MILLRACE_CONFIG", `batchSize: expected a whole number from 1, got ${batchSize}`);
  if (!Number.isSafeInteger(worldSize) || worldSize < 1)
    throw new MillraceError("MILLRACE_CONFIG", `worldSize: expected a whole number from 1, got ${worldSize}`);
  if (!Number.isSafeInteger(rank) || rank < 0 || rank >= worldSize)
    throw new MillraceError("MILLRACE_CONFIG", `rank: expected a whole number from 0 to ${worldSize - 1} (worldSize - 1), got ${rank}`);
  if (!Number.isSafeInteger(fromPosition) || fromPosition < 0 || fromPosition > sampleCount)
    throw new MillraceError("MILLRACE_RESUME", `resume: position ${fromPosition} is not one of an epoch of ${sampleCount} samples`);
}

/** What is given to `mill.saveTrainingState` and `mill.loadLatest`, and its check: a run that goes on without part of its state goes wrong silently. */
import { z } from "zod";
import type { SaveOptions, TrainingRun, TrainingStateOptions, Watch } from "../api.js";
import { MillraceError } from "../errors.js";
import { checkLoaderState } from "../loader/loader-options.js";
import { checkOptions } from "../util/check-options.js";
import { checkSaveOptions, checkWatch } from "./checkpoint-options.js";

const RUN = "{ tensors, loader, extra }";
const runSchema = z.strictObject({ tensors: z.unknown(), loader: z.unknown().optional(), extra: z.unknown().optional() });

/** Throws MILLRACE_CONFIG naming what does not fit. */
export function checkTrainingSave(prefix: string, run: TrainingRun, options: TrainingStateOptions): void {
  checkPrefix(prefix);
  if (typeof run !== "object" || run === null || Symbol.iterator in run || Symbol.asyncIterator in run)
    throw config(`run: expected ${RUN}, with the tensors in it`);
  checkOptions(runSchema, run);
  if (run.tensors === undefined) throw config(`tensors: a run is ${RUN}, and these are missing`);
  if (run.loader !== undefined) checkLoaderState(run.loader, "loader");
  checkSaveOptions(options);
  for (const option of ["metadata", "maxShardBytes"] as const)
    if ((options as SaveOptions)[option] !== undefined)
      throw config(`${option}: not for training states, which are one file each with metadata of their own; use \`extra\``);
}

export function checkTrainingLoad(prefix: string, options: Watch): void {
  checkPrefix(prefix);
  checkWatch(options);
}

function checkPrefix(prefix: unknown): void {
  if (typeof prefix !== "string") throw config("prefix: expected the path of the folder that holds the training states");
}

function config(message: string): MillraceError {
  return new MillraceError("MILLRACE_CONFIG", message);
}

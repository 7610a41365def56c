/** The options of datasets and loaders, and their checks. */
import { z } from "zod";
import type { LoaderOptions } from "../api.js";
import { MillraceError } from "../errors.js";
import { DEFAULTS } from "../options.js";
import { parseBytes } from "../util/byte-size.js";
import { checkOptions } from "../util/check-options.js";
import { parseDuration } from "../util/duration.js";

const bytes = z.union([z.string(), z.number()]);
const duration = z.union([z.string(), z.number()]);
const natural = z.number().int().positive();

const state = z.strictObject({
  version: z.literal(1, "written by another version of Millrace"),
  fingerprint: z.string(),
  order: z.string(),
  epoch: z.number().int().nonnegative(),
  position: z.number().int().nonnegative(),
});
const rankOption = z.union([z.number().int().nonnegative(), z.literal("env")]);
const loaderSchema = z.strictObject({
  batchSize: natural,
  shuffle: z
    .union([
      z.literal(false),
      z.strictObject({ seed: z.number().int(), mode: z.enum(["window", "global"]).optional(), window: bytes.optional() }),
    ])
    .optional(),
  rank: rankOption.optional(),
  worldSize: z.union([natural, z.literal("env")]).optional(),
  lanes: natural.optional(),
  remainder: z.enum(["drop", "pad", "keep"]).optional(),
  resume: state.optional(),
  stepsPerEpoch: natural.optional(),
  onError: z.enum(["throw", "skip"]).optional(),
  workers: z.union([z.number().int().nonnegative(), z.literal("auto")]).optional(),
  decodeTimeout: duration.optional(),
  readAhead: z.union([z.literal("auto"), bytes]).optional(),
  recycle: z.boolean().optional(),
  signal: z.instanceof(AbortSignal).optional(),
  decode: z
    .custom<object>(
      (value) => typeof value === "object" && value !== null && "url" in value && "run" in value,
      "expected what defineDecoder returns",
    )
    .optional(),
  decodeArgs: z.unknown().optional(),
});

/** A loader's options in numbers; functions and signals left out. */
export interface LoaderConfig {
  readonly batchSize: number;
  readonly shuffle: false | { readonly seed: number; readonly mode: "window" | "global"; readonly windowBytes: number };
  readonly rank: number;
  readonly worldSize: number;
  readonly lanes: number;
  readonly remainder: "drop" | "pad" | "keep";
  readonly stepsPerEpoch: number | undefined;
  readonly onError: "throw" | "skip";
  readonly workers: number | "auto";
  readonly decodeTimeoutMs: number;
  readonly readAhead: "auto" | number;
  readonly recycle: boolean;
}

const RANK_VARIABLES = ["RANK", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "PMI_RANK"];
const WORLD_VARIABLES = ["WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "SLURM_NTASKS", "PMI_SIZE"];

function fromEnvironment(variables: readonly string[], option: string): number {
  const name = variables.find((variable) => process.env[variable] !== undefined);
  if (name === undefined)
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `${option}: "env" needs one of ${variables.join(", ")} in the environment; set it, or give a number`,
    );
  const text = process.env[name]!;
  // Number("") is 0: a variable left empty must not make every process rank 0.
  if (!/^\d+$/.test(text)) throw new MillraceError("MILLRACE_CONFIG", `${option}: ${name}=${text} is not a number`);
  return Number(text);
}

/** Checks the options of `dataset.loader`. Throws MILLRACE_CONFIG naming each bad option. */
export function loaderConfig(options: LoaderOptions): LoaderConfig {
  const checked = checkOptions(loaderSchema, options);
  const worldSize = checked.worldSize === "env" ? fromEnvironment(WORLD_VARIABLES, "worldSize") : (checked.worldSize ?? 1);
  const rank = checked.rank === "env" ? fromEnvironment(RANK_VARIABLES, "rank") : (checked.rank ?? 0);
  if (worldSize === 0) throw new MillraceError("MILLRACE_CONFIG", "worldSize: 0 in the environment; there is one process at least");
  if (rank >= worldSize) throw new MillraceError("MILLRACE_CONFIG", `rank: ${rank} is not below worldSize ${worldSize}`);
  const shuffle = checked.shuffle ?? false;
  return {
    batchSize: checked.batchSize,
    shuffle: shuffle && {
      seed: shuffle.seed,
      mode: shuffle.mode ?? "window",
      windowBytes: parseBytes(shuffle.window ?? DEFAULTS.windowBytes, "shuffle.window"),
    },
    rank,
    worldSize,
    lanes: checked.lanes ?? DEFAULTS.lanes,
    remainder: checked.remainder ?? (worldSize === 1 ? "keep" : "drop"),
    stepsPerEpoch: checked.stepsPerEpoch,
    onError: checked.onError ?? "throw",
    workers: checked.workers ?? "auto",
    decodeTimeoutMs: parseDuration(checked.decodeTimeout ?? DEFAULTS.decodeTimeoutMs, "decodeTimeout"),
    readAhead: checked.readAhead === undefined || checked.readAhead === "auto" ? "auto" : parseBytes(checked.readAhead, "readAhead"),
    recycle: checked.recycle ?? false,
  };
}

/** Checks a loader's state that is to be kept. `option`: what it was given as. Throws MILLRACE_CONFIG naming it and what does not fit. */
export function checkLoaderState(value: unknown, option: string): void {
  checkOptions(z.object({ [option]: state }), { [option]: value });
}

const datasetSchema = z.strictObject({
  format: z.string().optional(),
  fields: z.record(z.string(), z.unknown()).optional(),
  classes: z.array(z.string()).optional(),
  onError: z.enum(["throw", "skip"]).optional(),
  signal: z.instanceof(AbortSignal).optional(),
  onProgress: z.custom<(progress: never) => void>((value) => typeof value === "function").optional(),
});
/** Checks the options of `mill.dataset` but for `fields`, which loader/fit.ts knows. Throws MILLRACE_CONFIG. */
export function checkDatasetOptions(options: object): void {
  checkOptions(datasetSchema, options);
}

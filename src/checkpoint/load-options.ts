/** The options of `mill.checkpoint` and of what it gives, and their checks: one that is misspelled must not load something else. */
import { z } from "zod";
import type { LoadOptions, TensorOptions, Watch } from "../api.js";
import { MillraceError } from "../errors.js";
import { checkOptions } from "../util/check-options.js";

interface WatchShape {
  readonly signal: z.ZodType<AbortSignal | undefined>;
  readonly onProgress: z.ZodType<((progress: never) => void) | undefined>;
}
/** For the schema of any call that is watched. */
export const WATCH: WatchShape = {
  signal: z.instanceof(AbortSignal, { error: "expected an AbortSignal" }).optional(),
  onProgress: z.custom<(progress: never) => void>((value) => typeof value === "function", "expected a function").optional(),
};
const watchSchema = z.strictObject({ ...WATCH });
const loadSchema = z.strictObject({ ...WATCH, names: z.array(z.string()).optional() });
const tensorSchema = z.strictObject({ ...WATCH, rows: z.unknown().optional() });

/** Throws MILLRACE_CONFIG naming each bad option, as all of these do. */
export function checkWatch(options: Watch): void {
  checkOptions(watchSchema, options);
}

export function checkLoadOptions(options: LoadOptions): void {
  checkOptions(loadSchema, options);
}

export function checkTensorOptions(options: TensorOptions): void {
  checkOptions(tensorSchema, options);
  if (options.rows !== undefined && !isRange(options.rows))
    throw new MillraceError("MILLRACE_CONFIG", "rows takes { from, to }, whole numbers");
}

function isRange(rows: unknown): boolean {
  if (typeof rows !== "object" || rows === null) return false;
  return Object.entries(rows).every(([key, value]) => ["from", "to"].includes(key) && ["number", "undefined"].includes(typeof value));
}

/** The options of loads and saves, and their checks: one that is misspelled must not load or save something else. */
import { z } from "zod";
import type { LoadOptions, TensorOptions, Watch } from "../api.js";
import { MillraceError } from "../errors.js";
import { parseBytes } from "../util/byte-size.js";
import { checkOptions } from "../util/check-options.js";

/** Of every call that can be watched. */
const WATCH = {
  signal: z.instanceof(AbortSignal, { error: "expected an AbortSignal" }).optional(),
  onProgress: z.custom<(progress: never) => void>((value) => typeof value === "function", "expected a function").optional(),
};
const watchSchema = z.strictObject({ ...WATCH });
const loadSchema = z.strictObject({ ...WATCH, names: z.array(z.string()).optional() });
const tensorSchema = z.strictObject({ ...WATCH, rows: z.unknown().optional() });

/** Kept as it is, since zod's own record leaves `__proto__` out. The header's writer says which value is no string. */
const metadataSchema = z.custom<Record<string, string>>(
  (value) => typeof value === "object" && value !== null && !(Symbol.iterator in value),
  "expected an object of strings",
);
const saveSchema = z.strictObject({
  write: z.enum(["through", "back"]).optional(),
  keep: z.int().min(1).optional(),
  metadata: metadataSchema.optional(),
  maxShardBytes: z.union([z.string(), z.number()]).optional(),
  ...WATCH,
});

export interface SaveSettings {
  readonly write: "through" | "back";
  readonly keep: number | undefined;
  readonly metadata: Readonly<Record<string, string>> | undefined;
  readonly maxShardBytes: number | undefined;
}

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

export function checkSaveOptions(options: object): SaveSettings {
  const { write = "through", keep, metadata, maxShardBytes } = checkOptions(saveSchema, options);
  const shardBytes = maxShardBytes === undefined ? undefined : parseBytes(maxShardBytes, "maxShardBytes");
  if (shardBytes === 0) throw new MillraceError("MILLRACE_CONFIG", "maxShardBytes: expected at least 1 byte, got 0");
  return { write, keep, metadata, maxShardBytes: shardBytes };
}

function isRange(rows: unknown): boolean {
  if (typeof rows !== "object" || rows === null) return false;
  return Object.entries(rows).every(([key, value]) => ["from", "to"].includes(key) && ["number", "undefined"].includes(typeof value));
}

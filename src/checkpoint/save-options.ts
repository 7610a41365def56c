/** The options of `mill.saveCheckpoint`, and their check. */
import { z } from "zod";
import { MillraceError } from "../errors.js";
import { parseBytes } from "../util/byte-size.js";
import { checkOptions } from "../util/check-options.js";
import { WATCH } from "./load-options.js";

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

/** Throws MILLRACE_CONFIG naming each bad option. */
export function checkSaveOptions(options: object): SaveSettings {
  const { write = "through", keep, metadata, maxShardBytes } = checkOptions(saveSchema, options);
  const shardBytes = maxShardBytes === undefined ? undefined : parseBytes(maxShardBytes, "maxShardBytes");
  if (shardBytes === 0) throw new MillraceError("MILLRACE_CONFIG", "maxShardBytes: expected at least 1 byte, got 0");
  return { write, keep, metadata, maxShardBytes: shardBytes };
}

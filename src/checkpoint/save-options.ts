/** The options of `mill.saveCheckpoint`, and their check. */
import { z } from "zod";
import { parseBytes } from "../util/byte-size.js";
import { checkOptions } from "../util/check-options.js";
import { WATCH } from "./load-options.js";

const saveSchema = z.strictObject({
  write: z.enum(["through", "back"]).optional(),
  keep: z.int().min(1).optional(),
  metadata: z.record(z.string(), z.string()).optional(),
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
  return { write, keep, metadata, maxShardBytes: maxShardBytes === undefined ? undefined : parseBytes(maxShardBytes, "maxShardBytes") };
}

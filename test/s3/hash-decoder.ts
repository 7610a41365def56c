import { createHash } from "node:crypto";
import { defineDecoder } from "../../src/index.js";

/** The payload as its hash, so that an epoch over any format is told by what it decoded. */
export default defineDecoder(import.meta, {
  output: { sha256: "utf8", label: "int32" },
  decode(sample: Record<string, unknown>, { args }: { args: { payload: string; label: string } }) {
    const hash = createHash("sha256").update(sample[args.payload] as Uint8Array);
    return { sha256: hash.digest("hex"), label: sample[args.label] as number };
  },
});

/** A decoder by the URL of its module, in the thread that runs it. */
import { isDeepStrictEqual } from "node:util";
import type { Decoder, Fields } from "../api.js";
import { MillraceError } from "../errors.js";
import { importExport } from "./module-loading.js";

export type AnyDecoder = Decoder<never, Fields, never>;

/** Throws MILLRACE_CONFIG where the module has no decoder as its default export, or one of another output than the caller's. */
export async function loadDecoder(url: string, output: Fields): Promise<AnyDecoder> {
  const found = await importExport(url, "default", "decode");
  if (!isDecoder(found))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `decode: the default export of ${url} is no decoder; write \`export default defineDecoder(import.meta, …)\` in a module of its own`,
    );
  if (!isDeepStrictEqual(found.output, output))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `decode: the output that ${url} declares is not the same in every thread (${JSON.stringify(output)} and ${JSON.stringify(found.output)}); the decoder must be the module's default export, and its output must not depend on arguments, environment or chance`,
    );
  return found;
}

function isDecoder(value: unknown): value is AnyDecoder {
  const { url, output, run } = (value ?? {}) as Partial<AnyDecoder>;
  return typeof url === "string" && typeof output === "object" && output !== null && typeof run === "function";
}

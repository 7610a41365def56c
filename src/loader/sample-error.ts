/** Failures of one sample: named by shard and key, and told from those that concern the whole run. */
import { MillraceError } from "../errors.js";

/** The codes that `onError: "skip"` may skip. */
const SKIPPABLE: ReadonlySet<string> = new Set(["MILLRACE_CORRUPT", "MILLRACE_FORMAT", "MILLRACE_DECODE", "MILLRACE_TIMEOUT"]);

export function isSampleFailure(error: MillraceError): boolean {
  return SKIPPABLE.has(error.code);
}

/** The error with its sample and shard in the message and as fields; its code, range and cause stay. */
export function sampleError(
  error: unknown,
  row: { readonly key: string; readonly index: number; readonly shardPath: string },
  root: string,
): MillraceError {
  const { key, index } = row;
  const uri = `${root}/${row.shardPath}`;
  const where = `${uri}: sample ${JSON.stringify(key)} (number ${index})`;
  if (!(error instanceof MillraceError)) {
    const message = error instanceof Error ? error.message : String(error);
    return new MillraceError("MILLRACE_FORMAT", `${where}: ${message}`, { uri, sample: { key, index }, cause: error });
  }
  if (error.code === "MILLRACE_ABORTED" || error.code === "MILLRACE_CLOSED") return error;
  return new MillraceError(error.code, `${where}: ${error.message}`, {
    uri,
    range: error.range,
    sample: { key, index },
    cause: error.cause,
  });
}

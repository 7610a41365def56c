/**
 * What opens a mill, and loads it only then: a decoder's worker imports this package for `defineDecoder` alone, and would hold another 18 MB.
 */
import type { Dataset, DatasetOptions, Fields, Millrace, MillraceOptions } from "./api.js";

/**
 * Opens a mill: mounts, caches and engine. Close it, or hold it by `await using`, to end its thread and sockets.
 *
 * Throws MILLRACE_CONFIG for options that are unknown or do not fit, and for a cache directory that cannot be written.
 */
export async function openMillrace(options: MillraceOptions = {}): Promise<Millrace> {
  const mill = await import("./mill.js");
  return mill.openMillrace(options);
}

/** `openMillrace` and `dataset` in one. Closing the dataset (`await using`) closes its mill. */
export async function openDataset<const F extends Fields>(
  source: string | readonly string[],
  options: MillraceOptions & DatasetOptions<F> = {},
): Promise<Dataset<F> & AsyncDisposable> {
  const mill = await import("./mill.js");
  return mill.openDataset(source, options);
}

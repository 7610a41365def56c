/** Whether a checkpoint that is uploaded late has been saved anew elsewhere meanwhile. */
import { isMillraceError } from "../errors.js";
import type { Place } from "./mounts.js";
import { otherForm } from "./save-series.js";

/** How much later than a save an object may seem to be written, by clocks that S3 still takes for right. */
const CLOCK_SKEW_MS = 15 * 60_000;

/** Its origin has a version, in this form or the other, that was written after the save, by whatever clock. Throws what the store throws. */
export async function isOutrun({ store, path }: Place, savedMs: number, signal: AbortSignal): Promise<boolean> {
  if (await isNewer(store, path, savedMs, signal)) return true;
  const other = otherForm(path);
  if (other === undefined) return false;
  return isNewer(store, other, savedMs, signal).catch((error) => {
    // S3 denies what is not there to who may not list.
    if (isMillraceError(error, "MILLRACE_PERMISSION")) return false;
    throw error;
  });
}

async function isNewer(store: Place["store"], path: string, savedMs: number, signal: AbortSignal): Promise<boolean> {
  try {
    const { lastModified } = await store.stat(path, { signal });
    return lastModified !== undefined && lastModified.getTime() > savedMs + CLOCK_SKEW_MS;
  } catch (error) {
    if (isMillraceError(error, "MILLRACE_NOT_FOUND")) return false;
    throw error;
  }
}

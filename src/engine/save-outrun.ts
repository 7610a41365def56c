/** Whether a checkpoint that is uploaded late has been saved anew elsewhere meanwhile. */
import { isMillraceError } from "../errors.js";
import type { Place } from "./mounts.js";
import type { Journal } from "./save-journal.js";
import { otherForm } from "./save-series.js";

/** How much later than a save an object may seem to be written, by clocks that S3 still takes for right. */
const CLOCK_SKEW_MS = 15 * 60_000;

/**
 * Its origin has a version, in this form or the other, that was written after the save, by whatever clock, and is none of the earlier saves that were
 * uploaded as late as this one. Throws what the store throws.
 */
export async function isOutrun({ store, path }: Place, journal: Journal, signal: AbortSignal): Promise<boolean> {
  if (await isNewer(store, path, journal, signal)) return true;
  const other = otherForm(path);
  if (other === undefined) return false;
  return isNewer(store, other, journal, signal).catch((error) => {
    // S3 denies what is not there to who may not list.
    if (isMillraceError(error, "MILLRACE_PERMISSION")) return false;
    throw error;
  });
}

async function isNewer(store: Place["store"], path: string, { savedMs, earlier = [] }: Journal, signal: AbortSignal): Promise<boolean> {
  try {
    const { lastModified, etag } = await store.stat(path, { signal });
    return !earlier.includes(etag) && lastModified !== undefined && lastModified.getTime() > savedMs + CLOCK_SKEW_MS;
  } catch (error) {
    if (isMillraceError(error, "MILLRACE_NOT_FOUND")) return false;
    throw error;
  }
}

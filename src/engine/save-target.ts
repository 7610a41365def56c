/** Where the objects of a checkpoint go. */
import { MillraceError } from "../errors.js";
import type { Place } from "./mounts.js";
import { seriesOf } from "./save-series.js";

/** One object of a checkpoint and where it goes. */
export interface SaveTarget {
  readonly place: Place;
  /** As the caller wrote it. */
  readonly path: string;
  readonly size: number;
}

/** Throws MILLRACE_PERMISSION, _CONFIG where a checkpoint cannot be written there, and where `keep` would have older ones removed that cannot be. */
export function checkPlace(place: Place, path: string, keep: number | undefined): void {
  const { store } = place;
  const refuse = (what: string) => new MillraceError("MILLRACE_PERMISSION", `${path}: ${what}`, { uri: store.uri });
  if (place.readOnly) throw refuse("the mount is read-only");
  if (store.write === undefined) throw refuse("this store cannot write");
  if (place.path === "" || place.path.endsWith("/"))
    throw new MillraceError("MILLRACE_CONFIG", `${path}: names no object: give a path below it`);
  if (keep === undefined) return;
  if (store.remove === undefined) throw refuse("keep: this store cannot remove objects");
  if (seriesOf(place.path) === undefined)
    throw new MillraceError("MILLRACE_CONFIG", `keep: ${path} has no number by which older checkpoints of its series could be told`);
}

/** A loader's state: what the loop has received, in terms that hold for every rank and every worldSize. */
import type { LoaderState } from "../api.js";
import { MillraceError } from "../errors.js";

export interface Place {
  readonly epoch: number;
  readonly position: number;
}

export function loaderState(fingerprint: string, order: string, place: Place): LoaderState {
  return { version: 1, fingerprint, order, epoch: place.epoch, position: place.position };
}

/** Refuses a state that was not made by this dataset and order. Throws MILLRACE_RESUME saying which differs. */
export function checkResume(state: LoaderState, fingerprint: string, order: string, sampleCount: number): Place {
  if (state.fingerprint !== fingerprint)
    throw new MillraceError(
      "MILLRACE_RESUME",
      `resume: the state is of another dataset (fingerprint ${state.fingerprint.slice(0, 12)}…, this one is ${fingerprint.slice(0, 12)}…): shards were added, removed or rewritten, or the selection differs. Start without resume, or open the data the state was made with`,
    );
  if (state.order !== order)
    throw new MillraceError(
      "MILLRACE_RESUME",
      `resume: the state is of another order (${state.order}; this loader's is ${order}). Use the same shuffle, window and lanes; batchSize, rank and worldSize may differ`,
    );
  if (state.position > sampleCount)
    throw new MillraceError("MILLRACE_RESUME", `resume: position ${state.position} is beyond the ${sampleCount} samples of the dataset`);
  return { epoch: state.epoch, position: state.position };
}

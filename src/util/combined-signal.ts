import { setMaxListeners } from "node:events";

/** A signal that many may wait on: Node would take more than ten listeners for a leak. */
export function manyListeners(signal: AbortSignal): AbortSignal {
  setMaxListeners(0, signal);
  return signal;
}

/** Fires with the first of the signals given. */
export function combinedSignal(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
  return manyListeners(AbortSignal.any(signals.filter((signal) => signal !== undefined)));
}

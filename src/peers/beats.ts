import type { ServerResponse } from "node:http";
import type { AlarmClock } from "../util/alarm-clock.js";

/** While a peer is at work, the asker hears of it that often, milliseconds: twelve times within its shortest patience. */
const BEAT_MS = 100;

/** Says 102 at once where `work` takes longer than what is in memory does, and now and then while it is under way. */
export async function withBeats<T>(response: ServerResponse, clock: AlarmClock, work: () => Promise<T>): Promise<T> {
  let cancel = (): void => {};
  const beat = (): void => {
    response.writeProcessing();
    cancel = clock.after(BEAT_MS, beat);
  };
  const first = setImmediate(beat);
  try {
    return await work();
  } finally {
    clearImmediate(first);
    cancel();
  }
}

import type { ServerResponse } from "node:http";
import type { AlarmClock } from "../util/alarm-clock.js";

/** While a peer is at work, the asker hears of it that often, milliseconds: eight times within its shortest patience. */
const BEAT_MS = 100;

/** Says 102 now and then while `work` is under way. */
export async function withBeats<T>(response: ServerResponse, clock: AlarmClock, work: () => Promise<T>): Promise<T> {
  let cancel = (): void => {};
  const beat = (): void => {
    cancel = clock.after(BEAT_MS, () => {
      response.writeProcessing();
      beat();
    });
  };
  beat();
  try {
    return await work();
  } finally {
    cancel();
  }
}

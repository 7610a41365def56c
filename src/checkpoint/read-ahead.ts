/** Work whose results are wanted in order, started a bounded way ahead of who takes them. */
import { combinedSignal } from "../util/combined-signal.js";

export interface Job<T> {
  /** What its result takes of memory. */
  readonly bytes: number;
  run(signal: AbortSignal): Promise<T>;
}

/** Started and not yet taken, however long they are: so that the next is under way when one ends. */
const LEAST_AHEAD = 2;

/**
 * The results in order. At most `bytesAhead` of them are started and not yet taken, or two jobs where these are longer. The first failure ends all
 * and is what is thrown. Who leaves early ends what was started: when this returns, nothing runs any more.
 */
export async function* inOrder<T>(jobs: readonly Job<T>[], bytesAhead: number, signal?: AbortSignal): AsyncGenerator<T, void, undefined> {
  const left = new AbortController();
  const either = combinedSignal(signal, left.signal);
  const started: Promise<T>[] = [];
  let ahead = 0;
  let next = 0;
  const start = (): void => {
    for (let job = jobs[next]; job !== undefined && (started.length < LEAST_AHEAD || ahead + job.bytes <= bytesAhead); job = jobs[++next]) {
      ahead += job.bytes;
      const running = job.run(either);
      running.catch((error) => left.abort(error));
      started.push(running);
    }
  };
  try {
    for (const { bytes } of jobs) {
      start();
      const result = await started[0]!.catch((error) => {
        throw left.signal.reason ?? error;
      });
      started.shift();
      ahead -= bytes;
      yield result;
    }
  } finally {
    left.abort();
    await Promise.allSettled(started);
  }
}

import { throwIfAborted } from "../errors.js";
import { unlessAborted } from "../util/unless-aborted.js";

interface Call<T> {
  readonly controller: AbortController;
  readonly result: Promise<T>;
  waiting: number;
  ended: boolean;
}

/** One run of an async function a key, however many ask. It is aborted when the last one who waits has left; a failure is not remembered. */
export class SharedCalls<T> {
  readonly #calls = new Map<string, Call<T>>();

  /** `start` is told whether its run is still the current one of its key when it asks: see `forget`. */
  async run(key: string, signal: AbortSignal | undefined, start: (signal: AbortSignal, current: () => boolean) => Promise<T>): Promise<T> {
    throwIfAborted(signal);
    const call = this.#calls.get(key) ?? this.#start(key, start);
    call.waiting++;
    try {
      return await unlessAborted(call.result, signal, "The request");
    } finally {
      if (--call.waiting === 0) this.#leave(key, call);
    }
  }

  /** The run under way goes on for those who wait, but the next who asks starts another. */
  forget(matches: (key: string) => boolean): void {
    for (const key of [...this.#calls.keys()]) if (matches(key)) this.#calls.delete(key);
  }

  #start(key: string, start: (signal: AbortSignal, current: () => boolean) => Promise<T>): Call<T> {
    const controller = new AbortController();
    const call: Call<T> = {
      controller,
      waiting: 0,
      ended: false,
      result: start(controller.signal, () => this.#calls.get(key) === call).finally(() => {
        call.ended = true;
        this.#drop(key, call);
      }),
    };
    // Whoever waits hears of the failure; nobody may be waiting any more.
    call.result.catch(() => {});
    this.#calls.set(key, call);
    return call;
  }

  #leave(key: string, call: Call<T>): void {
    if (call.ended) return;
    this.#drop(key, call);
    call.controller.abort();
  }

  #drop(key: string, call: Call<T>): void {
    if (this.#calls.get(key) === call) this.#calls.delete(key);
  }
}

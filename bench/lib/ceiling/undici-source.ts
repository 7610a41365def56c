/** Ranges by undici's dispatch, the quickest way into it: no stream, no promise a chunk, one copy into the slot. */
import { type Dispatcher, Pool } from "undici";
import type { RecordRange } from "./layout.js";
import type { RangeSource } from "./source.js";

export class UndiciSource implements RangeSource {
  readonly #pool: Pool;

  constructor(endpoint: string, connections: number) {
    this.#pool = new Pool(endpoint, { connections, pipelining: 1 });
  }

  read({ path, begin, bytes }: RecordRange, slot: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      let at = 0;
      const handler: Dispatcher.DispatchHandler = {
        onRequestStart() {},
        onResponseStart(_controller, status) {
          if (status !== 206) throw new Error(`status ${status}`);
        },
        onResponseData(_controller, chunk) {
          slot.set(chunk, at);
          at += chunk.length;
        },
        onResponseEnd() {
          if (at === bytes) resolve();
          else reject(new Error("the body is short"));
        },
        onResponseError(_controller, error) {
          reject(error);
        },
      };
      this.#pool.dispatch({ path, method: "GET", headers: { range: `bytes=${begin}-${begin + bytes - 1}` } }, handler);
    });
  }

  close(): Promise<void> {
    return this.#pool.close();
  }
}

/** The bare sockets in a thread of their own, which fills slots of shared memory while the caller's thread works on others. */
import { MessageChannel, type MessagePort, type Worker } from "node:worker_threads";
import { tsWorker } from "../thread-boot.js";
import type { RecordRange } from "./layout.js";
import type { RangeSource } from "./source.js";

/** Main to thread: a range and the slot to fill. Thread to main: the slot that is full. */
export interface ReadMessage {
  readonly range: RecordRange;
  readonly slot: number;
}
export interface ThreadData {
  readonly endpoint: string;
  readonly slots: readonly SharedArrayBuffer[];
  readonly port: MessagePort;
}

export class ThreadedSource implements RangeSource {
  readonly #worker: Worker;
  readonly #port: MessagePort;
  readonly #slots: ReadonlyMap<ArrayBufferLike, number>;
  readonly #waiting: (() => void)[] = [];
  #failed: (error: unknown) => void = () => {};

  /** `slots` must lie on shared memory of their own. */
  constructor(endpoint: string, slots: readonly Buffer[]) {
    const shared = slots.map(({ buffer }) => buffer as unknown as SharedArrayBuffer);
    const { port1, port2 } = new MessageChannel();
    const workerData: ThreadData = { endpoint, slots: shared, port: port2 };
    this.#worker = tsWorker(new URL("./socket-thread.ts", import.meta.url), { workerData, transferList: [port2] });
    this.#worker.on("error", (error) => this.#failed(error));
    this.#slots = new Map(shared.map((buffer, number) => [buffer, number]));
    this.#port = port1;
    port1.on("message", (slot: number) => this.#waiting[slot]!());
  }

  read(range: RecordRange, slot: Buffer): Promise<void> {
    const number = this.#slots.get(slot.buffer)!;
    return new Promise((resolve, reject) => {
      this.#waiting[number] = resolve;
      this.#failed = reject;
      this.#port.postMessage({ range, slot: number } satisfies ReadMessage);
    });
  }

  async close(): Promise<void> {
    this.#port.close();
    await this.#worker.terminate();
  }
}

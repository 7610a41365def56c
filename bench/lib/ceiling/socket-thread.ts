/** The thread of `ThreadedSource`. */
import { workerData } from "node:worker_threads";
import { SocketSource } from "./socket-source.js";
import type { ReadMessage, ThreadData } from "./threaded-source.js";

const { endpoint, slots, port } = workerData as ThreadData;
const source = new SocketSource(endpoint);
port.on("message", async ({ range, slot }: ReadMessage) => {
  await source.read(range, Buffer.from(slots[slot]!, 0, range.bytes));
  port.postMessage(slot);
});

/** The engine's worker thread: starts the host on the port it was given, and says whether that went well. */
import { type MessagePort, parentPort, workerData } from "node:worker_threads";
import { EngineHost, type HostStart } from "./host.js";
import { toWireError } from "./wire-error.js";

const { port, start } = workerData as { readonly port: MessagePort; readonly start: HostStart };
EngineHost.start(port, start, true).then(
  () => parentPort!.postMessage({ ready: true }),
  (error) => {
    parentPort!.postMessage({ error: toWireError(error) });
    port.close();
  },
);

/** Entry of an I/O thread. */
import { parentPort, workerData } from "node:worker_threads";
import type { IoThreadData } from "./io-protocol.js";
import { serveRanges } from "./io-service.js";

serveRanges(parentPort!, workerData as IoThreadData);

/** Entry of a decode worker. */
import { parentPort, workerData } from "node:worker_threads";
import type { DecodeWorkerData } from "./decode-protocol.js";
import { serveDecode } from "./decode-service.js";

void serveDecode(parentPort!, workerData as DecodeWorkerData);

/** Decodes an image in a worker thread, and tells how sharp is set there afterwards. */
import { parentPort, workerData } from "node:worker_threads";
import sharp from "sharp";
import { image } from "../../../src/adapters/decode.js";

sharp.concurrency(3);
await image(workerData as Uint8Array, { size: 2 });
parentPort!.postMessage({ threads: sharp.concurrency(), items: sharp.cache().items.max });

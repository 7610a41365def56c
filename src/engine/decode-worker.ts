/** Entry of a decode worker: assembles one whole batch at a time with the user's decoder. */
import { parentPort, workerData } from "node:worker_threads";
import { MillraceError } from "../errors.js";
import { formatByName } from "../formats/infer.js";
import { type AssembledBatch, Assembler, batchBuffers } from "../loader/assemble.js";
import {
  ABORTED_JOB,
  AT_ROW,
  type DecodeJob,
  type DecodeWorkerData,
  type FromDecodeWorker,
  type ToDecodeWorker,
  unpackRows,
} from "./decode-protocol.js";
import { loadDecoder } from "./load-decoder.js";
import { toWireError } from "./wire-error.js";

const { setup, progress } = workerData as DecodeWorkerData;
const port = parentPort!;
const place = new Int32Array(progress);
let aborting: { readonly id: number; readonly controller: AbortController } | undefined;

function post(message: FromDecodeWorker, transfer: ArrayBuffer[] = []): void {
  port.postMessage(message, transfer);
}

async function start(): Promise<Assembler> {
  const { url, output, args } = setup.decoder;
  const decoder = await loadDecoder(url, output);
  return new Assembler({
    ...setup,
    format: formatByName(setup.format),
    decode: { decoder, args, seed: setup.seed, timeoutMs: setup.timeoutMs },
  });
}

async function decode(assembler: Assembler, job: DecodeJob): Promise<AssembledBatch> {
  const controller = new AbortController();
  aborting = { id: job.id, controller };
  assembler.memory.drain();
  assembler.memory.give(job.memory);
  return assembler.assemble({
    rows: unpackRows(job.rows),
    padding: job.padding,
    epoch: job.epoch,
    signal: controller.signal,
    without: new Set(job.without),
    onRow: (row) => {
      Atomics.store(place, AT_ROW, row);
      // A decoder that never waits leaves no turn for the message that says so.
      if (Atomics.load(place, ABORTED_JOB) === job.id) controller.abort();
    },
  });
}

async function serve(assembler: Assembler, job: DecodeJob): Promise<void> {
  let batch: AssembledBatch;
  try {
    batch = await decode(assembler, job);
  } catch (error) {
    post({ t: "error", id: job.id, error: toWireError(error) });
    return;
  }
  try {
    post({ t: "done", id: job.id, batch }, batchBuffers(batch));
  } catch (cause) {
    const error = new MillraceError(
      "MILLRACE_DECODE",
      `the decoder's json values cannot be sent between threads: ${(cause as Error).message}`,
      { cause },
    );
    post({ t: "error", id: job.id, error: toWireError(error) });
  }
}

start().then(
  (assembler) => {
    port.on("message", (message: ToDecodeWorker) => {
      if (message.t === "job") void serve(assembler, message);
      else if (aborting?.id === message.id) aborting.controller.abort();
    });
    post({ t: "ready" });
  },
  (error) => post({ t: "failed", error: toWireError(error) }),
);

/** The worker's end of a decode pool: assembles one whole batch at a time with the user's decoder. */
import type { MessagePort } from "node:worker_threads";
import { MillraceError } from "../errors.js";
import { formatByName } from "../formats/infer.js";
import { Manifest } from "../formats/manifest.js";
import { type AssembledBatch, Assembler, batchBuffers } from "../loader/assemble.js";
import type { RowNames } from "../loader/batch-rows.js";
import {
  ABORTED_JOB,
  AT_ROW,
  type DecodeJob,
  type DecodeSetup,
  type DecodeWorkerData,
  type FromDecodeWorker,
  type ToDecodeWorker,
  unpackRows,
} from "./decode-protocol.js";
import { loadDecoder } from "./load-decoder.js";
import { toWireError } from "./wire-error.js";

/** Loads the decoder and answers `port` until it closes. A decoder that cannot be loaded is a `failed` message. */
export async function serveDecode(port: MessagePort, { setup, progress }: DecodeWorkerData): Promise<void> {
  try {
    const service = new DecodeService(port, await openAssembler(setup), Manifest.fromShared(setup.manifest), new Int32Array(progress));
    port.on("message", (message: ToDecodeWorker) => service.receive(message));
    port.postMessage({ t: "ready" } satisfies FromDecodeWorker);
  } catch (error) {
    port.postMessage({ t: "failed", error: toWireError(error) } satisfies FromDecodeWorker);
  }
}

async function openAssembler(setup: DecodeSetup): Promise<Assembler> {
  const { url, output, args } = setup.decoder;
  const decoder = await loadDecoder(url, output);
  const decode = { decoder, args, seed: setup.seed, timeoutMs: setup.timeoutMs };
  return new Assembler({ ...setup, format: formatByName(setup.format), decode });
}

class DecodeService {
  readonly #port: MessagePort;
  readonly #assembler: Assembler;
  readonly #names: RowNames;
  readonly #progress: Int32Array;
  #current: { readonly id: number; readonly controller: AbortController } | undefined;

  constructor(port: MessagePort, assembler: Assembler, names: RowNames, progress: Int32Array) {
    this.#port = port;
    this.#assembler = assembler;
    this.#names = names;
    this.#progress = progress;
  }

  receive(message: ToDecodeWorker): void {
    if (message.t === "job") void this.#serve(message);
    else if (this.#current?.id === message.id) this.#current.controller.abort();
  }

  async #serve(job: DecodeJob): Promise<void> {
    try {
      const batch = await this.#assemble(job);
      this.#post({ t: "done", id: job.id, batch }, batchBuffers(batch));
    } catch (error) {
      this.#post({ t: "error", id: job.id, error: toWireError(error instanceof MillraceError ? error : unsendable(error)) });
    }
  }

  #assemble(job: DecodeJob): Promise<AssembledBatch> {
    const controller = new AbortController();
    this.#current = { id: job.id, controller };
    this.#assembler.memory.drain();
    this.#assembler.memory.give(job.memory);
    return this.#assembler.assemble({
      rows: unpackRows(job.rows, this.#names),
      padding: job.padding,
      epoch: job.epoch,
      signal: controller.signal,
      without: new Set(job.without),
      onRow: (row) => {
        Atomics.store(this.#progress, AT_ROW, row);
        // A decoder that never waits leaves no turn for the message that says so.
        if (Atomics.load(this.#progress, ABORTED_JOB) === job.id) controller.abort();
      },
    });
  }

  #post(message: FromDecodeWorker, transfer: ArrayBuffer[] = []): void {
    this.#port.postMessage(message, transfer);
  }
}

/** Assembling only throws our own errors: what else there is comes from sending the result. */
function unsendable(cause: unknown): MillraceError {
  return new MillraceError("MILLRACE_DECODE", `the decoder's json values cannot be sent between threads: ${(cause as Error).message}`, {
    cause,
  });
}

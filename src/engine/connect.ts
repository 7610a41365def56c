/** Starts an engine, in a worker thread or inline, and connects the caller's side to it. */
import { once } from "node:events";
import { MessageChannel, type Worker, workerData } from "node:worker_threads";
import { StatsBoard } from "../diagnostics.js";
import { MillraceError } from "../errors.js";
import type { EngineConfig } from "../options.js";
import type { HostStart } from "./host.js";
import { SOURCE_EXTENSION, startWorker } from "./module-loading.js";
import { type Handlers, Rpc } from "./rpc.js";
import { fromWireError, type WireError } from "./wire-error.js";

/** MB. Garbage of the young generation, buffers among it, is kept up to about this size; with V8's default the peak is 27 MB higher. */
const ENGINE_LIMITS = { maxYoungGenerationSizeMb: 8 } as const;
/** An engine thread that does not end by itself within this time is ended. It has nothing left to lose: its caches are closed. */
const EXIT_WITHIN_MS = 5_000;
/** An engine thread that has not closed its caches by then never will: a decoder on it loops for ever, say. Writes to the disks take seconds. */
const CLOSE_WITHIN_MS = 60_000;

export interface Connection {
  readonly rpc: Rpc;
  readonly board: StatsBoard;
  /** Ends the engine; resolves when its thread is gone. Calling it again gives the same promise. */
  close(): Promise<void>;
}

/** `handlers` answer what the engine asks of the caller's thread: credentials and log lines. */
export async function connect(config: EngineConfig, inline: boolean, handlers: Handlers): Promise<Connection> {
  // A bundled entry would start itself again in each of its workers, for ever.
  if ((workerData as { millrace?: unknown } | null)?.millrace !== undefined)
    throw new MillraceError(
      "MILLRACE_CONFIG",
      "openMillrace was called inside one of Millrace's own worker threads: move the decoder (or store) to a module of its own that opens no mill; a bundler may also have pulled your main program into it (docs/troubleshooting.md)",
    );
  const board = new StatsBoard();
  const { port1, port2 } = new MessageChannel();
  const start: HostStart = { config, stats: board.buffer };
  const rpc = new Rpc(port1, handlers, false, !inline);
  let worker: Worker | undefined;
  try {
    // Imported only where it runs: it would take 20 MB of the caller's thread.
    if (inline) await (await import("./host.js")).EngineHost.start(port2, start, false);
    else {
      worker = startWorker(new URL(`./thread${SOURCE_EXTENSION}`, import.meta.url), {
        workerData: { millrace: "engine", port: port2, start },
        transferList: [port2],
        name: "millrace-engine",
        resourceLimits: ENGINE_LIMITS,
      });
      await ready(worker);
      watch(worker, rpc);
    }
  } catch (error) {
    rpc.close();
    await worker?.terminate();
    throw error;
  }
  let closing: Promise<void> | undefined;
  return {
    rpc,
    board,
    close: () => {
      closing ??= close(rpc, worker);
      return closing;
    },
  };
}

async function ready(worker: Worker): Promise<void> {
  const exited = once(worker, "exit").then(() => {
    throw new MillraceError("MILLRACE_UNAVAILABLE", "The engine thread ended while it started");
  });
  exited.catch(() => {});
  const [message] = (await Promise.race([once(worker, "message"), exited])) as [{ error?: WireError }];
  if (message.error !== undefined) throw fromWireError(message.error);
}

/** An engine that dies ends every call with the reason. */
function watch(worker: Worker, rpc: Rpc): void {
  worker.on("error", (cause) =>
    rpc.close(
      new MillraceError(
        "MILLRACE_UNAVAILABLE",
        `The engine thread failed: ${cause instanceof Error ? cause.message : cause}; open the mill anew`,
        { cause },
      ),
    ),
  );
  worker.on("exit", (code) =>
    rpc.close(
      new MillraceError(
        "MILLRACE_UNAVAILABLE",
        `The engine thread has ended with code ${code} (did a decoder or a store end its thread?); open the mill anew`,
      ),
    ),
  );
  // An idle mill keeps no process alive; a call in progress does, by its port.
  worker.unref();
}

async function close(rpc: Rpc, worker: Worker | undefined): Promise<void> {
  const late = setTimeout(() => void worker?.terminate(), CLOSE_WITHIN_MS);
  try {
    await rpc.call("close", undefined);
  } catch {
    // The engine is gone already: there is nothing left to close.
  }
  clearTimeout(late);
  const exited = worker && (worker.threadId < 0 ? undefined : new Promise<void>((resolve) => worker.once("exit", () => resolve())));
  rpc.close();
  if (worker === undefined || exited === undefined) return;
  worker.ref();
  const timer = setTimeout(() => void worker.terminate(), EXIT_WITHIN_MS);
  await exited;
  clearTimeout(timer);
}

/** An I/O thread's end: sends the engine's ranged GETs, and fills their targets once the engine has judged the head. */
import type { MessagePort } from "node:worker_threads";
import type { Refusal } from "../storage/network-errors.js";
import { RangeClient } from "../storage/range-client.js";
import { bringsBytes, type RangeCall, RangeSink, type Verdict } from "../storage/range-sink.js";
import { type Deferred, deferred } from "../util/deferred.js";
import type { FromIoThread, IoEnd, IoGet, IoThreadData, ToIoThread } from "./io-protocol.js";
import { toWireError } from "./wire-error.js";

/** Answers `port` until it is told to close; it then ends every socket and the port. */
export function serveRanges(port: MessagePort, { timeouts }: IoThreadData): void {
  const service = new IoService(port, new RangeClient(timeouts));
  port.on("message", (message: ToIoThread) => service.receive(message));
}

/** A sink whose head is judged by the engine: versions, claims and errors stay with it. */
class DistantSink extends RangeSink {
  readonly #ask: (status: number, headers: Refusal["headers"]) => void;
  readonly #verdict: Deferred<Verdict> = deferred();

  constructor(call: RangeCall, targets: readonly Uint8Array[], ask: (status: number, headers: Refusal["headers"]) => void) {
    super(call, targets);
    this.#ask = ask;
  }

  head(status: number, headers: Refusal["headers"]): Verdict | Promise<Verdict> {
    if (!bringsBytes(status)) return this.refused(status, headers);
    this.#ask(status, headers);
    return this.#verdict.promise;
  }

  judged(verdict: Verdict): void {
    this.#verdict.resolve(verdict);
  }
}

interface Job {
  readonly sink: DistantSink;
  readonly controller: AbortController;
}

class IoService {
  readonly #port: MessagePort;
  readonly #client: RangeClient;
  readonly #jobs = new Map<number, Job>();

  constructor(port: MessagePort, client: RangeClient) {
    this.#port = port;
    this.#client = client;
  }

  receive(message: ToIoThread): void {
    if (message.t === "get") void this.#serve(message);
    else if (message.t === "verdict") this.#jobs.get(message.id)?.sink.judged(message.verdict);
    else if (message.t === "abort") this.#jobs.get(message.id)?.controller.abort();
    else void this.#client.close().then(() => this.#port.close());
  }

  async #serve({ id, call, targets }: IoGet): Promise<void> {
    const sink = new DistantSink(call, targets, (status, headers) => this.#post({ t: "head", id, status, headers }));
    const controller = new AbortController();
    this.#jobs.set(id, { sink, controller });
    const wanted = sink.missing;
    const result = await this.#client.get(sink, controller.signal).then<IoEnd["result"], IoEnd["result"]>(
      (outcome) => ({ outcome }),
      (error) => ({ error: toWireError(error) }),
    );
    this.#jobs.delete(id);
    this.#post({ t: "end", id, received: wanted - sink.missing, result });
  }

  #post(message: FromIoThread): void {
    this.#port.postMessage(message);
  }
}

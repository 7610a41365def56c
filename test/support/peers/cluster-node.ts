/** Nodes of a cluster as processes of their own, for tests and benches that kill, freeze and restart them. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { LoaderOptions, LoaderState, MillraceOptions, MillStats } from "../../../src/index.js";
import { type Deferred, deferred } from "../../../src/util/deferred.js";
import type { OriginInfo } from "../origin/index.js";
import { TSX } from "../script-process.js";

export interface NodeOptions {
  readonly origin: OriginInfo;
  /** Of TFRecord shards. */
  readonly source: string;
  /** File of the crc32c of each sample, 32 bits each in the machine's order. */
  readonly checksums: string;
  readonly mill: Pick<MillraceOptions, "cache" | "peers" | "limits">;
  readonly loader: LoaderOptions;
}

/** What a node read of an epoch, up to its end or until it was stopped. */
export interface EpochReport {
  /** Numbers of the samples, in their order. */
  readonly samples: Float64Array;
  /** Samples with other bytes than the origin's. */
  readonly wrong: number;
  /** The first batch excluded, milliseconds. */
  readonly longestWaitMs: number;
  readonly wallSeconds: number;
  /** Of the node's process. */
  readonly cpuSeconds: number;
  readonly ended: boolean;
  readonly state: LoaderState;
}

/** "stop": the epoch under way ends after the batch at hand. */
export type NodeRequest =
  | { readonly do: "open" | "stats" | "stop" | "close" }
  | { readonly do: "epoch"; readonly number: number /** Of each step. */; readonly computeMs: number };
export type NodeMessage = { readonly id: number; readonly result?: unknown; readonly error?: string } | { readonly step: number };

/** A process must have opened its mill, or found the others, by then, milliseconds. */
const START_LIMIT_MS = 60_000;
const POLL_MS = 50;

export class ClusterNode {
  readonly options: NodeOptions;
  readonly #process: ChildProcess;
  readonly #exited: Promise<unknown>;
  readonly #calls = new Map<number, Deferred<unknown>>();
  readonly #ready: Deferred<unknown> = deferred();
  #lastId = 0;
  /** Batches that the loop had in the epoch under way, or the last one. */
  steps = 0;

  /** Resolves when its mill is open. */
  static async start(options: NodeOptions): Promise<ClusterNode> {
    const node = new ClusterNode(options);
    const timer = setTimeout(() => node.#ready.reject(new Error("the node did not start in time")), START_LIMIT_MS);
    await node.#ready.promise.finally(() => clearTimeout(timer));
    return node;
  }

  private constructor(options: NodeOptions) {
    this.options = options;
    const { NODE_OPTIONS: _options, NODE_V8_COVERAGE: _coverage, VITEST: _vitest, ...env } = process.env;
    this.#process = fork(fileURLToPath(new URL("./fixtures/node.ts", import.meta.url)), [JSON.stringify(options)], {
      execArgv: ["--import", TSX],
      serialization: "advanced",
      env,
    });
    this.#exited = once(this.#process, "exit");
    this.#process.on("message", (message: NodeMessage) => this.#received(message));
    this.#process.once("exit", (code, signal) => {
      for (const call of [this.#ready, ...this.#calls.values()]) call.reject(new Error(`the node has ended (${signal ?? code})`));
    });
    this.#ready.promise.catch(() => {});
  }

  /** Opens the dataset and its loader. */
  async open(): Promise<void> {
    await this.#ask({ do: "open" });
  }

  epoch(number: number, computeMs = 0): Promise<EpochReport> {
    this.steps = 0;
    return this.#ask({ do: "epoch", number, computeMs }) as Promise<EpochReport>;
  }

  async stop(): Promise<void> {
    await this.#ask({ do: "stop" });
  }

  stats(): Promise<MillStats> {
    return this.#ask({ do: "stats" }) as Promise<MillStats>;
  }

  /** Resolves when the epoch under way has had so many batches. */
  async stepped(steps: number): Promise<void> {
    while (this.steps < steps) await sleep(POLL_MS);
  }

  /** Resolves when so many nodes share the cache, as this one sees it. */
  async members(count: number): Promise<void> {
    for (const end = Date.now() + START_LIMIT_MS; (await this.stats()).peers?.members !== count; await sleep(POLL_MS))
      if (Date.now() > end) throw new Error(`${count} members were not found`);
  }

  signal(name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
    this.#process.kill(name);
  }

  /** Closes its mill; resolves when the process has ended. */
  async close(): Promise<void> {
    await this.#ask({ do: "close" });
    await this.#exited;
  }

  /** Idempotent. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#exited;
  }

  #ask(request: NodeRequest): Promise<unknown> {
    const call = deferred<unknown>();
    // Whoever asked a node that was killed may not look at the answer.
    call.promise.catch(() => {});
    const id = ++this.#lastId;
    this.#calls.set(id, call);
    this.#process.send({ ...request, id }, (error) => error && call.reject(error));
    return call.promise;
  }

  #received(message: NodeMessage): void {
    if ("step" in message) {
      this.steps = message.step;
      return;
    }
    const { id, result, error } = message;
    const call = id === 0 ? this.#ready : this.#calls.get(id)!;
    this.#calls.delete(id);
    if (error === undefined) call.resolve(result);
    else call.reject(new Error(error));
  }
}

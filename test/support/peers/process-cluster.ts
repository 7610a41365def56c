/** A cluster of processes on loopback that read one dataset, and what may befall one of them in the midst of an epoch. */
import type { LoaderOptions } from "../../../src/index.js";
import type { OriginClient } from "../origin/client.js";
import { ClusterNode, type EpochReport } from "./cluster-node.js";
import { type CorruptingProxy, corruptingProxy } from "./corrupting-proxy.js";
import { freePort } from "./daemon.js";

/** What may befall a node. "restart": all of them, one after the other. */
export type Mishap = "kill" | "freeze" | "corrupt" | "restart";

export interface ClusterOptions {
  readonly origin: OriginClient;
  readonly source: string;
  readonly checksums: string;
  readonly nodes: number;
  /** `ranks`: they share each epoch. `everything`: each reads all of it. */
  readonly reading: "ranks" | "everything";
  /** Memory tier of each, bytes. */
  readonly memory: number;
  readonly blockSize?: string | undefined;
  readonly loader: LoaderOptions;
  /** How long a silent peer is waited for. Default: the mill's. */
  readonly timeout?: string | undefined;
  /** False: each has only itself. */
  readonly peers: boolean;
  /** Whether the last node can be made to lie: what stands before it for that takes CPU of its own. Default: it cannot. */
  readonly liar?: boolean | undefined;
  /** The numbers of the nodes that each node is told of. Default: all, to all. */
  readonly lists?: readonly (readonly number[])[] | undefined;
}

export class ProcessCluster {
  readonly nodes: ClusterNode[];
  /** Before the last node, where it can be made to lie. */
  readonly proxy: CorruptingProxy | undefined;
  readonly #options: ClusterOptions;

  /** Resolves when all have found each other, have opened the dataset, and nothing of that is counted yet but reads of the dataset. */
  static async start(options: ClusterOptions): Promise<ProcessCluster> {
    const { nodes: count, lists, liar } = options;
    const ports = await Promise.all(Array.from({ length: count }, () => freePort()));
    const proxy = liar === true ? await corruptingProxy(ports.at(-1)!) : undefined;
    const told = proxy === undefined ? ports : [...ports.slice(0, -1), proxy.port];
    const started = await Promise.allSettled(
      ports.map((port, i) => ClusterNode.start(nodeOptions(options, i, port, lists === undefined ? told : lists[i]!.map((j) => told[j]!)))),
    );
    const nodes = started.flatMap((result) => (result.status === "fulfilled" ? [result.value] : []));
    const cluster = new ProcessCluster(options, nodes, proxy);
    try {
      for (const result of started) if (result.status === "rejected") throw result.reason;
      if (options.peers) await Promise.all(nodes.map((node, i) => node.members(lists?.[i]?.length ?? count)));
      await options.origin.reset();
      await Promise.all(nodes.map((node) => node.open()));
      return cluster;
    } catch (error) {
      await cluster.end();
      throw error;
    }
  }

  private constructor(options: ClusterOptions, nodes: ClusterNode[], proxy: CorruptingProxy | undefined) {
    this.#options = options;
    this.nodes = nodes;
    this.proxy = proxy;
  }

  /** All nodes read an epoch. */
  epoch(number: number, computeMs = 0): Promise<EpochReport[]> {
    return Promise.all(this.nodes.map((node) => node.epoch(number, computeMs)));
  }

  /** All nodes read an epoch, in the midst of which the last one meets with a mishap; resolves to the reports of those that still run. */
  async mishap(kind: Exclude<Mishap, "restart">, number: number, computeMs: number, afterSteps: number): Promise<EpochReport[]> {
    const running = this.nodes.map((node) => node.epoch(number, computeMs));
    const victim = this.nodes.at(-1)!;
    await Promise.all(this.nodes.map((node) => node.stepped(afterSteps)));
    if (kind === "corrupt") {
      this.proxy!.corrupt();
      return Promise.all(running);
    }
    if (kind === "kill") await victim.kill();
    else victim.signal("SIGSTOP");
    const reports = await Promise.all(running.slice(0, -1));
    await victim.kill();
    this.nodes.pop();
    return reports;
  }

  /** All nodes read an epoch, in which each is restarted in turn, without waiting for what the others have done; resolves to the reports of all processes. */
  async rollingRestart(number: number, computeMs: number): Promise<EpochReport[]> {
    const reports: EpochReport[] = [];
    const running = this.nodes.map((node) => node.epoch(number, computeMs));
    for (const [i, node] of this.nodes.entries()) {
      await node.stop();
      const before = await running[i]!;
      reports.push(before);
      await node.close();
      const { options } = node;
      const again = await ClusterNode.start({ ...options, loader: { ...options.loader, resume: before.state } });
      this.nodes[i] = again;
      await again.open();
      running[i] = before.ended ? Promise.resolve({ ...before, samples: new Float64Array(0) }) : again.epoch(number, computeMs);
    }
    return [...reports, ...(await Promise.all(running))];
  }

  /** Ends all processes that are left, at once. */
  async end(): Promise<void> {
    await Promise.all(this.nodes.splice(0).map((node) => node.kill()));
    await this.proxy?.close();
  }

  /** Closes the mills; resolves when their processes have ended by themselves. */
  async close(): Promise<void> {
    await Promise.all(this.nodes.splice(0).map((node) => node.close()));
    await this.proxy?.close();
  }

  /** Bytes of shards that the origin has sent since it was reset: indices and listings are counted by nobody. */
  async originBytes(): Promise<number> {
    const { keys } = await this.#options.origin.stats();
    return Object.entries(keys).reduce((sum, [key, { bytes }]) => sum + (key.endsWith(".tfrecord") ? bytes : 0), 0);
  }
}

function nodeOptions(options: ClusterOptions, rank: number, port: number, told: readonly number[]): ClusterNode["options"] {
  const { origin, source, checksums, nodes, reading, memory, blockSize, loader, timeout, peers } = options;
  const { endpoint, controlUrl, credentials, region } = origin;
  const discover = told.map((each) => `127.0.0.1:${each}`).join(",");
  return {
    origin: { endpoint, controlUrl, credentials, region },
    source,
    checksums,
    mill: {
      cache: { memory, ...(blockSize !== undefined && { blockSize }) },
      // Of a hedge the origin counts both.
      limits: { hedge: 0 },
      ...(peers && { peers: { listen: `127.0.0.1:${port}`, discover, secret: "of the cluster", timeout } }),
    },
    loader: { ...loader, ...(reading === "ranks" && { rank, worldSize: nodes, remainder: "drop" }) },
  };
}

/** What is wrong with what was read: of `expected` samples, by one reader or by several who share them. */
export function flaws(reports: readonly EpochReport[], expected: number): { wrong: number; missing: number; twice: number } {
  const seen = new Set(reports.flatMap(({ samples }) => [...samples]));
  const read = reports.reduce((sum, { samples }) => sum + samples.length, 0);
  const wrong = reports.reduce((sum, report) => sum + report.wrong, 0);
  return { wrong, missing: expected - seen.size, twice: read - seen.size };
}

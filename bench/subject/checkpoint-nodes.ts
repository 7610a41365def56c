/** Nodes, each a process of its own, that load one checkpoint at once: one alone, then several that share their cache. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { connectOrigin, type OriginInfo } from "../../test/support/origin/index.js";
import { freePort } from "../../test/support/peers/daemon.js";
import { s3Options } from "../../test/support/s3-options.js";
import { backMemory } from "../lib/back-memory.js";
import type { CheckpointNodeMessage, CheckpointNodeOptions } from "../lib/checkpoint-node.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report } from "../lib/subject.js";

export interface CheckpointNodesParameters {
  readonly origin: OriginInfo;
  readonly bucket: string;
  readonly path: string;
  readonly warmUp: string;
  readonly fileBytes: number;
  /** Memory tier of each. */
  readonly memory: string;
  readonly nodes: number;
}

const given = parameters<CheckpointNodesParameters>();
const origin = connectOrigin(given.origin);
const children: ChildProcess[] = [];
process.once("SIGTERM", () => {
  for (const child of children) child.kill("SIGKILL");
  process.exit(1);
});

function start(port: number, ports: readonly number[]): ChildProcess {
  const peers = { listen: `127.0.0.1:${port}`, discover: ports.map((each) => `127.0.0.1:${each}`).join(","), secret: "of the nodes" };
  const options: CheckpointNodeOptions = {
    mill: {
      mounts: { "/ckpt": { uri: `s3://${given.bucket}`, admission: "lru" } },
      s3: s3Options(given.origin),
      cache: { memory: given.memory },
      // Of a hedge the origin counts both.
      limits: { hedge: 0 },
      ...(ports.length > 1 && { peers }),
    },
    path: `/ckpt/${given.path}`,
    warmUp: `/ckpt/${given.warmUp}`,
    members: ports.length > 1 ? ports.length : 0,
  };
  // With the loader and the flags of this process.
  const child = fork(fileURLToPath(new URL("../lib/checkpoint-node.ts", import.meta.url)), [JSON.stringify(options)]);
  children.push(child);
  return child;
}

async function answer(child: ChildProcess): Promise<CheckpointNodeMessage> {
  const ended = once(child, "exit").then(() => Promise.reject(new Error("a node has ended")));
  ended.catch(() => {});
  const [message] = (await Promise.race([once(child, "message"), ended])) as [CheckpointNodeMessage];
  return message;
}

async function loadOn(count: number): Promise<Figures> {
  const ports = await Promise.all(Array.from({ length: count }, () => freePort()));
  const nodes = ports.map((port) => start(port, ports));
  await Promise.all(nodes.map(answer));
  // For the result, and what the cache keeps of it.
  await backMemory(count * 1.5 * given.fileBytes);
  await origin.reset();
  const answers = nodes.map(answer);
  for (const node of nodes) node.send("load");
  const loads = (await Promise.all(answers)) as Figures[];
  const { bytesSent, requests } = await origin.stats();
  const exits = nodes.map((node) => once(node, "exit"));
  for (const node of nodes) node.send("close");
  await Promise.all(exits);
  const [{ bytes, checksum }] = loads as [Figures];
  if (loads.some((load) => load.bytes !== bytes || load.checksum !== checksum)) throw new Error("the nodes have loaded different data");
  const cpuSeconds = loads.reduce((sum, load) => sum + load.cpuSeconds!, 0);
  // The slowest node's.
  const wallSeconds = Math.max(...loads.map((load) => load.wallSeconds!));
  return { bytes: bytes!, checksum: checksum!, wallSeconds, cpuSeconds, originShare: bytesSent / given.fileBytes, requests };
}

try {
  report({ alone: await loadOn(1), together: await loadOn(given.nodes) });
} finally {
  for (const child of children) child.kill("SIGKILL");
}

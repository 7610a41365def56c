/**
 * The cold epoch of `epochs` over TLS: nginx with a certificate of its own. One thread deciphers less than the wire brings, so Millrace is
 * shown with its connections in the engine's thread and in two threads of their own.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeShards } from "../lib/data.js";
import { ceilingSubject, type EpochData, FULL, MEMORY, millraceSubject, SMOKE } from "../lib/epochs.js";
import { type Nginx, startNginx } from "../lib/nginx.js";
import type { PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";

function subjectsOf(nginx: Nginx, data: EpochData): Subject[] {
  const cold = { name: "cold", source: "socket", work: "batches", memory: "fresh" } as const;
  return [
    millraceSubject("millrace", nginx, data, { memory: MEMORY, ioThreads: 1, phases: ["cold"] }),
    millraceSubject("millrace, 2 I/O threads", nginx, data, { memory: MEMORY, ioThreads: 2, phases: ["cold"] }),
    ceilingSubject("ceiling", nginx, data, [cold]),
    ceilingSubject("ceiling, sockets in a third thread", nginx, data, [{ ...cold, source: "threaded" }]),
    ceilingSubject("bare socket", nginx, data, [{ ...cold, work: "bare" }]),
    ceilingSubject("undici dispatch", nginx, data, [{ ...cold, source: "undici" }]),
  ];
}

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const root = await mkdtemp(join(tmpdir(), "millrace-epochs-"));
  const removeRoot = () => rm(root, { recursive: true, force: true });
  try {
    const format = "tfrecord";
    const size = smoke ? SMOKE : FULL;
    const shards = await writeShards(root, format, format, size);
    const nginx = await startNginx(root, { tls: true });
    const close = async () => {
      await nginx.close();
      await removeRoot();
    };
    return { subjects: subjectsOf(nginx, { root, folder: format, format, shards, passes: size.passes }), close };
  } catch (error) {
    await removeRoot();
    throw error;
  }
}

export const scenario: Scenario = {
  name: "epochs-tls",
  title: "Cold epochs of 4,096 TFRecord samples of 110 KB over TLS, batches of 64, from nginx on loopback",
  rounds: 2,
  columns: [
    { figure: "samplesPerSecond", title: "samples/s", digits: 0, chart: true },
    { figure: "gigabytesPerSecond", title: "GB/s", digits: 2 },
    { figure: "cpuSecondsPerGigabyte", title: "CPU s/GB", digits: 2 },
  ],
  bars: [
    {
      name: "cold: throughput ÷ ceiling",
      atLeast: 0.85,
      value: (of) => of("millrace", "cold", "samplesPerSecond") / of("ceiling", "cold", "samplesPerSecond"),
    },
  ],
  prepare,
};

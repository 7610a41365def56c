/** `millrace` as its users run it: nodes that serve in processes of their own, asked from the command line. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { parse } from "yaml";
import { run } from "../../src/cli/run.js";
import { KeptConsole } from "../support/cli/console.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { addresses, PATIENT } from "../support/peers/cluster.js";
import { s3Options } from "../support/s3-options.js";
import { startScript } from "../support/script-process.js";

const MAIN = new URL("../../src/cli/main.ts", import.meta.url);
const SECRET = "of the nodes";
const SIZES = [20_000_000, ...Array.from({ length: 15 }, (_, i) => 70_000 + i)];
const TOTAL = SIZES.reduce((sum, size) => sum + size, 0);
/** Processes start slowly on a busy machine. */
const SLOW_MS = 120_000;

let origin: Origin;
let folder: string;
let at: string[];
let metricsAt: string;
let healthAt: string;
beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  for (const [i, size] of SIZES.entries()) await origin.put("data", `set/${i}.bin`, new Uint8Array(size));
  folder = await mkdtemp(join(tmpdir(), "millrace-cli-"));
  [metricsAt, healthAt, ...at] = (await addresses(4)) as [string, string, string, string];
});
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true });
});

interface Served {
  readonly child: ChildProcess;
  /** Log lines so far. */
  readonly lines: string[];
  readonly ended: Promise<[code: number | null, signal: string | null]>;
}
const served: Served[] = [];
afterEach(() => {
  for (const { child } of served.splice(0)) child.kill("SIGKILL");
});

async function configOf(i: number, more: object = {}): Promise<string> {
  const path = join(folder, `node-${i}.json`);
  const config = {
    mounts: { "/data": "s3://data" },
    s3: s3Options(origin),
    cache: { memory: "64MiB", blockSize: "64KiB" },
    limits: { hedge: 0 },
    peers: {
      listen: at[i],
      health: i === 0 ? healthAt : undefined,
      discover: at.join(","),
      timeout: PATIENT,
      secret: { $env: "PEERS_SECRET" },
      labels: { node: { $env: "NODE_NAME" } },
    },
    ...more,
  };
  await writeFile(path, JSON.stringify(config));
  return path;
}

function start(i: number, words: readonly string[]): Served {
  const child = startScript(MAIN, words, {
    env: { PEERS_SECRET: SECRET, NODE_NAME: `node-${i}` },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: string[] = [];
  for (const stream of [child.stdout!, child.stderr!])
    stream.setEncoding("utf8").on("data", (text: string) => lines.push(...text.split("\n").filter(Boolean)));
  const one = { child, lines, ended: once(child, "close") as Served["ended"] };
  served.push(one);
  return one;
}

/** Both nodes, serving, each of which has found the other. */
async function serving(): Promise<Served[]> {
  const nodes = [
    start(0, ["serve", "--config", await configOf(0), "--metrics", metricsAt]),
    start(1, ["serve", "--config", await configOf(1), "--json"]),
  ];
  const together = ({ lines }: Served) => lines.some((line) => /have changed/.test(line) && /members"?[=:]2\b/.test(line));
  await vi.waitFor(() => expect(nodes.map(together)).toEqual([true, true]), { timeout: 60_000, interval: 100 });
  return nodes;
}

/** The command in this process: what it printed, and its exit code. */
async function millrace(...words: string[]): Promise<{ code: number; out: string[]; err: string[] }> {
  const console = new KeptConsole();
  const env = { PEERS_SECRET: SECRET, NODE_NAME: "asker" };
  const code = await run([...words, "--config", await configOf(0)], env, console);
  return { code, out: console.outLines, err: console.errLines };
}
const jsonOf = async (...words: string[]) => JSON.parse((await millrace(...words, "--json")).out[0]!);

describe("nodes that serve", () => {
  test("are told to load, asked what they hold, steer a pod, and drain on SIGTERM", { timeout: SLOW_MS }, async () => {
    const nodes = await serving();
    for (const address of [...at, healthAt])
      for (const path of ["healthz", "readyz"]) expect((await fetch(`http://${address}/${path}`)).status).toBe(200);

    const found = (await jsonOf("peers")) as { id: string; state: string; labels: { node: string } }[];
    expect(found.map(({ state, labels }) => [state, labels.node]).sort()).toEqual([
      ["member", "node-0"],
      ["member", "node-1"],
    ]);
    const table = await millrace("peers");
    expect(table.code).toBe(0);
    expect(table.out[0]).toMatch(/^node +url +state +weight +labels +reason$/);
    expect(table.out.slice(1).every((line) => / member +1 +node=node-[01]$/.test(line))).toBe(true);

    await origin.reset();
    const parts = [await jsonOf("prefetch", "/data/set", "--part", "0/2"), await jsonOf("prefetch", "/data/set", "--part", "1/2")];
    expect(parts.map(({ objects, failures }) => [objects, failures])).toEqual([
      [8, []],
      [8, []],
    ]);
    expect(parts[0].bytes + parts[1].bytes).toBe(TOTAL);
    expect((await origin.stats()).bytesSent).toBe(TOTAL);
    expect(await millrace("prefetch", "/data/set", "--priority", "2")).toEqual({
      code: 0,
      out: [expect.stringMatching(/^16 objects: 0 B loaded, 20\.\d MiB held before, 0 failed$/)],
      err: [],
    });

    const shares = (await jsonOf("locate", "/data/set")) as { labels: { node: string }; bytes: number; share: number }[];
    expect(shares.map(({ labels }) => labels.node).sort()).toEqual(["node-0", "node-1"]);
    expect(shares.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(TOTAL);
    expect((await millrace("locate", "/data/set")).out[1]).toMatch(/^\S+ +[\d.]+ [MK]iB +[\d.]+ % +node=node-[01]$/);
    const yaml = await millrace("locate", "/data/set", "--format", "k8s-affinity");
    expect(parse(yaml.out.join("\n"))).toEqual(await jsonOf("locate", "/data/set", "--format", "k8s-affinity"));
    expect(yaml.out.join("\n")).toContain(`values: ["${shares[0]!.labels.node}"]`);

    const metrics = await (await fetch(`http://${metricsAt}/metrics`)).text();
    expect(metrics).toMatch(/^millrace_peers_members 2$/m);
    expect(metrics).toMatch(/^millrace_memory_held_bytes [1-9]\d+$/m);
    expect((await fetch(`http://${metricsAt}/other`)).status).toBe(404);

    const missing = await millrace("prefetch", "/data/set/1.bin", "/data/none.bin");
    expect([missing.code, missing.err]).toEqual([1, [expect.stringMatching(/^\/data\/none\.bin: .*\(MILLRACE_NOT_FOUND\)$/)]]);
    expect(await millrace("locate", "/data/none")).toMatchObject({ code: 1, err: [expect.stringMatching(/\(MILLRACE_NOT_FOUND\)$/)] });

    for (const { child } of nodes) child.kill("SIGTERM");
    expect(await Promise.all(nodes.map(({ ended }) => ended))).toEqual([
      [0, null],
      [0, null],
    ]);
    expect(
      nodes[0]!.lines.some((line) => /^\S+ info Serving id="[0-9a-f-]{36}" url="http:\/\/\S+" labels=\{"node":"node-0"\}$/.test(line)),
    ).toBe(true);
    expect(JSON.parse(nodes[1]!.lines.at(-1)!)).toEqual({ time: expect.any(String), level: "info", message: "Closing" });
    for (const address of [at[0], healthAt, metricsAt]) await expect(fetch(`http://${address}/healthz`)).rejects.toThrow();
  });

  test("with another secret get no answer, and one line says so", { timeout: SLOW_MS }, async () => {
    await serving();
    const console = new KeptConsole();
    const code = await run(["locate", "/data/set", "--config", await configOf(0)], { PEERS_SECRET: "other", NODE_NAME: "x" }, console);
    expect([code, console.outLines]).toEqual([1, []]);
    expect(console.errLines.at(-1)).toMatch(/^millrace locate: no peer answers \(http:\S+: HTTP 401 .*\(MILLRACE_UNAVAILABLE\)$/);
  });
});

test("a process by itself fills its cache directory", { timeout: SLOW_MS }, async () => {
  const alone = { peers: undefined, cache: { memory: 0, disk: [{ path: join(folder, "disk"), capacity: "64MiB" }] } };
  const { child, lines, ended } = start(0, ["prefetch", "/data/set", "--config", await configOf(0, alone)]);
  expect(await ended).toEqual([0, null]);
  expect(lines.at(-1)).toMatch(/^16 objects: 20\.\d MiB loaded, 0 B held before, 0 failed$/);
  expect(child.exitCode).toBe(0);
  await origin.reset();
  const again = start(0, ["prefetch", "/data/set", "--json", "--config", await configOf(0, alone)]);
  expect(await again.ended).toEqual([0, null]);
  expect(JSON.parse(again.lines.at(-1)!)).toEqual({ objects: 16, bytes: 0, alreadyCached: TOTAL, failures: [] });
});

test("an address that is taken is one line, and exit code 2", { timeout: SLOW_MS }, async () => {
  const config = await configOf(0, { peers: { listen: new URL(origin.endpoint).host, discover: at[0] } });
  const { lines, ended } = start(0, ["serve", "--config", config]);
  expect(await ended).toEqual([2, null]);
  expect(lines.at(-1)).toMatch(/^millrace serve: peers\.listen: cannot listen at .*EADDRINUSE.*\(MILLRACE_CONFIG\)$/);
});

/** The end of a mill: what runs is cut short, what was open is given back, and every later call says so. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openMillrace } from "../../src/index.js";
import { makeDataset } from "../support/datasets/index.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";
import { runScript } from "../support/script-process.js";

const MIB = 2 ** 20;
const made = makeDataset({ format: "tfrecord", samples: 60, shards: 2, bytesPerSample: 1_000 });
let origin: Origin;
let folder: string;
beforeAll(async () => {
  origin = await startOrigin();
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  await origin.put("data", "large.bin", new Uint8Array(20 * MIB));
  await origin.put("data", "small.bin", new Uint8Array(5));
  for (const [key, bytes] of made.objects) await origin.put("data", `set/${key}`, bytes);
});
beforeEach(async () => {
  await origin.clearFaults();
  await origin.shape({});
  await origin.reset();
});
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true, force: true });
});
const outcome = (call: Promise<unknown>) =>
  call.then(
    () => "done",
    (error: { code?: string }) => error.code,
  );

describe.each(["inline", "worker"] as const)("engine %s", (engine) => {
  const open = (disk?: string) =>
    openMillrace({
      engine,
      cache: { memory: "32MiB", ...(disk && { disk: [{ path: disk, capacity: "64MiB" }] }) },
      s3: s3Options(origin),
      mounts: { "/m": "s3://data" },
    });

  test("close twice is one; every call after it is MILLRACE_CLOSED", async () => {
    const mill = await open();
    const dataset = await mill.dataset("/m/set", { fields: { label: "int32" } });
    const file = await mill.open("/m/small.bin");
    const copy = await mill.materialize("/m/small.bin");
    const loader = dataset.loader({ batchSize: 10 });
    await Promise.all([mill.close(), mill.close(), mill[Symbol.asyncDispose]()]);
    await mill.close();
    await copy.release();
    const list = async () => {
      for await (const _ of mill.list("/m"));
    };
    const calls: Record<string, () => Promise<unknown>> = {
      stat: () => mill.stat("/m/small.bin"),
      list,
      open: () => mill.open("/m/small.bin"),
      read: () => file.read(0, new Uint8Array(1)),
      readFile: () => mill.readFile("/m/small.bin"),
      writeFile: () => mill.writeFile("/m/new", "x"),
      saveCheckpoint: () => mill.saveCheckpoint("/m/new.safetensors", []),
      flush: () => mill.flush(),
      materialize: () => mill.materialize("/m/small.bin"),
      prefetch: () => mill.prefetch("/m").done,
      evict: () => mill.evict("/m"),
      invalidate: () => mill.invalidate("/m"),
      dataset: () => mill.dataset("/m/set"),
      get: () => dataset.get(0),
      epoch: () => loader.epoch(0)[Symbol.asyncIterator]().next(),
    };
    for (const [name, call] of Object.entries(calls)) expect([name, await outcome(call())]).toEqual([name, "MILLRACE_CLOSED"]);
    await loader.close();
  });

  test("during calls: each ends with MILLRACE_CLOSED, and nothing of it stays", async () => {
    const disk = await mkdtemp(join(folder, "disk-"));
    const mill = await open(disk);
    const dataset = await mill.dataset("/m/set", { fields: { image: "bytes" } });
    await mill.evict("/m/set");
    await mill.stat("/m/large.bin");
    await origin.failNext(1000, "hang", { kind: "get" });
    await origin.failNext(1000, "hang", { kind: "head" });
    await origin.failNext(1000, "hang", { kind: "list" });
    await origin.failNext(1000, "hang", { kind: "put" });
    await origin.failNext(1000, "hang", { kind: "multipart" });
    const paused = mill.prefetch("/m/large.bin");
    paused.pause();
    const endless = async function* () {
      for (;;) yield new Uint8Array(MIB);
    };
    const calls = [
      mill.stat("/m/none.bin"),
      mill.readFile("/m/large.bin"),
      mill.materialize("/m/large.bin"),
      mill.prefetch("/m/large.bin").done,
      paused.done,
      mill.writeFile("/m/new", endless()),
      mill.writeFile("/m/new2", "x"),
      mill.saveCheckpoint("/m/new.safetensors", [{ name: "t", dtype: "U8", shape: [20 * MIB], data: new Uint8Array(20 * MIB) }]),
      mill.dataset("/m/other"),
      dataset.get(3),
      dataset.loader({ batchSize: 10 }).epoch(0)[Symbol.asyncIterator]().next(),
    ].map(outcome);
    await expect.poll(async () => (await origin.stats()).inFlight, IN_TIME).toBeGreaterThan(4);
    await mill.close();
    expect(await Promise.all(calls)).toEqual(calls.map(() => "MILLRACE_CLOSED"));
    await expect.poll(async () => (await origin.stats()).inFlight, IN_TIME).toBe(0);
    expect((await readdir(disk)).filter((name) => name.startsWith("millrace-copy-"))).toEqual([]);
  });

  test("after close nothing keeps the process alive, whatever was under way", async () => {
    const script = join(folder, `exit-${engine}.mjs`);
    const config = { engine, cache: { memory: "32MiB" }, s3: s3Options(origin) };
    await writeFile(
      script,
      `import { openMillrace } from ${JSON.stringify(new URL("../../src/index.ts", import.meta.url).href)};
       const mill = await openMillrace(${JSON.stringify(config)});
       await mill.readFile("s3://data/large.bin");
       const copy = await mill.materialize("s3://data/small.bin");
       const failed = await mill.writeFile("s3://data/none/x", (async function* () { yield new Uint8Array(9e6); throw new Error("mine"); })()).catch((e) => e.message);
       for await (const { path } of mill.list("s3://data")) break;
       const job = mill.prefetch("s3://data");
       job.pause();
       job.done.catch(() => {});
       await mill.close();
       console.log(failed);`,
    );
    expect(await runScript(script, [])).toEqual({ code: 0, lines: ["mine"] });
  });
});

/** Processes that are killed while they save checkpoints, or upload them: what they have said to be saved is uploaded by the next. */
import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { openMillrace } from "../../src/index.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

const MIB = 2 ** 20;
const LENGTH = 20 * MIB;
let origin: Origin;
let folder: string;
beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
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

/** Runs until `killWhen` resolves, and is killed; resolves to the checkpoints that it said were saved. */
async function savesUntil(options: object, path: string, killWhen: (saved: () => number) => Promise<void>): Promise<number> {
  const script = fileURLToPath(new URL("./save-process.ts", import.meta.url));
  const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
  const child = spawn(process.execPath, ["--import", tsx, script, JSON.stringify(options), path, String(LENGTH)], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, NODE_OPTIONS: "", NODE_V8_COVERAGE: "", NODE_NO_WARNINGS: "1" },
  });
  // With what it said last.
  const ended = new Promise((resolve) => child.once("close", resolve));
  let text = "";
  child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  const saved = () => text.split("\n").filter((line) => line.startsWith("saved")).length;
  try {
    await expect.poll(() => text, IN_TIME).toContain("open");
    await killWhen(saved);
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
  return saved();
}

test.each([
  ["while it uploads", { firstByteMs: 300 }, async (saved: () => number) => expect.poll(saved, IN_TIME).toBeGreaterThan(1)],
  [
    "while it saves",
    { firstByteMs: 20_000 },
    async (saved: () => number) => {
      await expect.poll(saved, IN_TIME).toBeGreaterThan(0);
      await new Promise((resolve) => setTimeout(resolve, 30));
    },
  ],
] as const)(
  "killed %s: what was saved is there after the next mill's flush, and whole",
  async (name, shape, killWhen) => {
    const disk = await mkdtemp(join(folder, "disk-"));
    const prefix = name.replaceAll(" ", "-");
    const cache = { memory: "64MiB", disk: [{ path: disk, capacity: "300MiB" }] };
    const options = { cache, s3: s3Options(origin), mounts: { "/ckpt": { uri: "s3://data/ckpt", admission: "lru" as const } } };
    await origin.shape(shape);
    const saved = await savesUntil(options, `/ckpt/${prefix}`, killWhen);
    expect(saved).toBeGreaterThan(0);
    await origin.shape({});
    const mill = await openMillrace({ engine: "inline", ...options });
    await mill.flush();
    expect(await readdir(join(disk, "millrace-v1", "saves"))).toEqual([]);
    expect(mill.stats().saves).toMatchObject({ failed: 0, pending: 0 });
    await mill.close();
    const other = await openMillrace({ engine: "inline", s3: s3Options(origin), cache: { memory: "64MiB" } });
    let found = 0;
    // One more may have been on the disk when its process had not said so yet; whatever is there is whole.
    for await (const { path } of other.list(`s3://data/ckpt`)) {
      if (!path.includes(prefix)) continue;
      found++;
      const { bytes } = await (await other.checkpoint(path)).tensor("t");
      expect(Buffer.compare(bytes, Buffer.alloc(LENGTH, Number(/-(\d+)\.safetensors/.exec(path)![1])))).toBe(0);
    }
    expect(found - saved === 0 || found - saved === 1).toBe(true);
    await other.close();
  },
  90_000,
);

test("at no moment does the folder hold a file that the next process would not know", async () => {
  const disk = await mkdtemp(join(folder, "disk-"));
  const cache = { memory: "64MiB", disk: [{ path: disk, capacity: "300MiB" }] };
  const mill = await openMillrace({ engine: "inline", cache, s3: s3Options(origin), mounts: { "/ckpt": "s3://data/ckpt" } });
  const endings = new Set<string>();
  let ended = false;
  const save = async () => {
    for (let n = 1; n <= 5; n++)
      await mill.saveCheckpoint(`/ckpt/seen-${n}.safetensors`, [{ name: "t", dtype: "U8", shape: [2], data: new Uint8Array(2) }], {
        write: "back",
      });
    await mill.flush();
  };
  const saved = save().finally(() => {
    ended = true;
  });
  while (!ended)
    for (const name of await readdir(join(disk, "millrace-v1", "saves"))) endings.add(name.replace(/^\d+-[0-9a-f]{12}-\d+/, ""));
  await saved;
  expect([...endings].sort()).toEqual(["-0.data", ".json", ".lock"]);
  await mill.close();
});

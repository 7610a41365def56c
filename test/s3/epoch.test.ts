import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, inject, test } from "vitest";
import { type Dataset, type Loader, openMillrace } from "../../src/index.js";
import type { ChildLine, ChildOptions } from "./epoch-child.js";
import { expected, FIELDS, FORMATS, make, NAMES, upload } from "./fixture.js";
import hashDecoder from "./hash-decoder.js";

const BUCKET = "epochs";
const rgw = inject("rgw");
const s3 = { ...rgw, forcePathStyle: true };
const made = new Map(FORMATS.map((format) => [format, make(format)] as const));

beforeAll(() => upload(rgw, BUCKET, made));

type Hashes = { sha256: "utf8"; label: "int32" };

async function collect(loader: Loader<Hashes>, epoch: number): Promise<string[]> {
  const seen: string[] = [];
  for await (const { columns, size } of loader.epoch(epoch))
    for (let row = 0; row < size; row++) seen.push(`${columns.sha256.at(row)}:${columns.label.data[row]}`);
  return seen;
}

const CASES = FORMATS.flatMap((format) =>
  (["worker", "inline"] as const).flatMap((engine) =>
    [0, 2].flatMap((workers) => [1, 4].map((worldSize) => ({ format, engine, workers, worldSize }))),
  ),
);

describe.each(CASES)("$format, engine $engine, $workers decode workers, $worldSize ranks", ({ format, engine, workers, worldSize }) => {
  test("two epochs deliver each sample once; the second asks the origin for nothing", async () => {
    await using mill = await openMillrace({ s3, engine, cache: { memory: "64MiB" }, limits: { hedge: 0 } });
    const dataset: Dataset<Record<string, "bytes" | "int32">> = await mill.dataset(`s3://${BUCKET}/${format}`, { fields: FIELDS[format] });
    expect(dataset.sampleCount).toBe(240);
    const loaders = Array.from({ length: worldSize }, (_, rank) =>
      dataset.loader({
        batchSize: 16,
        shuffle: { seed: 3 },
        rank,
        worldSize,
        workers,
        remainder: "keep",
        decode: hashDecoder,
        decodeArgs: NAMES[format],
      }),
    );
    const epochs: string[][] = [];
    for (const epoch of [0, 1]) {
      const before = loaders.reduce((sum, loader) => sum + loader.stats().originRequests, 0);
      const seen = (await Promise.all(loaders.map((loader) => collect(loader, epoch)))).flat();
      const requests = loaders.reduce((sum, loader) => sum + loader.stats().originRequests, 0) - before;
      epochs.push(seen);
      expect([...seen].sort()).toEqual(expected(made.get(format)!));
      // Small records without an index file are read whole to find them; what was read then is in the cache.
      if (epoch === 0 && format !== "tfrecord") expect(requests).toBeGreaterThan(0);
      else expect(requests).toBe(0);
    }
    expect(epochs[1]).not.toEqual(epochs[0]);
    await Promise.all(loaders.map((loader) => loader.close()));
  });
});

/** Runs the child; resolves to its batches when it has ended as it was told to. */
async function runChild(options: ChildOptions): Promise<ChildLine[]> {
  const script = fileURLToPath(new URL("./epoch-child.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", script, JSON.stringify(options)], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  const signal = await new Promise<string | number | null>((resolve) => child.once("close", (code, name) => resolve(name ?? code)));
  expect(signal).toBe(options.killAfter === undefined ? 0 : "SIGKILL");
  return output
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as ChildLine);
}

test.each(FORMATS)(
  "%s: an epoch that SIGKILL cut in two goes on where its state says, from a disk cache that was in use",
  async (format) => {
    const cache = await mkdtemp(join(tmpdir(), "millrace-epoch-"));
    const options = { s3, source: `s3://${BUCKET}/${format}`, fields: FIELDS[format], names: NAMES[format], cache };
    const whole = await runChild({ ...options, cache: undefined, state: undefined, killAfter: undefined });
    const first = await runChild({ ...options, state: undefined, killAfter: 6 });
    const second = await runChild({ ...options, state: first.at(-1)!.state, killAfter: undefined });
    const seen = [...first, ...second].flatMap(({ rows }) => rows);
    expect(first.length).toBe(6);
    expect(seen).toEqual(whole.flatMap(({ rows }) => rows));
    expect([...seen].sort()).toEqual(expected(made.get(format)!));
    const again = await runChild({ ...options, state: undefined, killAfter: undefined });
    expect(again.map(({ rows }) => rows)).toEqual(whole.map(({ rows }) => rows));
    await rm(cache, { recursive: true });
  },
);

/**
 * What a sample costs on its way from the memory tier to a batch: warm epochs, engine and loop on one thread, so that CPU time and heap are
 * of the whole way. A young generation that holds the measured epoch makes the heap's growth the bytes allocated.
 * Run: `NODE_OPTIONS=--max-semi-space-size=256 npx tsx bench/micro/batch-path.ts [--src <folder>] [name …]`.
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { PerformanceObserver } from "node:perf_hooks";
import { pathToFileURL } from "node:url";
import { crc32c } from "@node-rs/crc32";
import type { Fields } from "../../src/api.js";
import { copyBytes } from "../../src/util/copy-bytes.js";
import { encodeExample, tfrecordShard, webdatasetShard } from "../../test/support/datasets/index.js";

const names = process.argv.slice(2);
const folder = names[0] === "--src" ? pathToFileURL(resolve(names.splice(0, 2)[1]!, "index.ts")).href : "../../src/index.js";
const { openMillrace } = (await import(folder)) as typeof import("../../src/index.js");

interface Case {
  readonly name: string;
  readonly file: string;
  readonly samples: number;
  readonly batchSize: number;
  readonly fields: Fields;
  /** One sample is written again and again: only its bytes' number counts here. */
  shard(samples: number): Uint8Array;
}

const repeated = <T>(samples: number, sample: (i: number) => T): T[] => Array.from({ length: samples }, (_, i) => sample(i));
const CASES: readonly Case[] = [
  {
    name: "tfrecord 110 KB, bytes",
    file: "a.tfrecord",
    samples: 1024,
    batchSize: 64,
    fields: { record: "bytes" },
    shard: (n) => tfrecordShard(repeated(n, () => Buffer.alloc(110_000, 7))).bytes,
  },
  {
    name: "tfrecord 1 KB, bytes",
    file: "b.tfrecord",
    samples: 32_768,
    batchSize: 256,
    fields: { record: "bytes" },
    shard: (n) => tfrecordShard(repeated(n, () => Buffer.alloc(1000, 7))).bytes,
  },
  {
    name: "tar 110 KB, jpg + cls",
    file: "c.tar",
    samples: 1024,
    batchSize: 64,
    fields: { jpg: "bytes", cls: "int32" },
    shard: (n) =>
      webdatasetShard(repeated(n, (i) => ({ key: `${i}`, fields: { jpg: Buffer.alloc(110_000, 7), cls: Buffer.from("7") } }))).bytes,
  },
  {
    name: "tar 1 KB, jpg + cls",
    file: "d.tar",
    samples: 16_384,
    batchSize: 256,
    fields: { jpg: "bytes", cls: "int32" },
    shard: (n) =>
      webdatasetShard(repeated(n, (i) => ({ key: `${i}`, fields: { jpg: Buffer.alloc(1000, 7), cls: Buffer.from("7") } }))).bytes,
  },
  {
    name: "Example 4 KB, int64 + float tensor",
    file: "e.tfrecord",
    samples: 16_384,
    batchSize: 256,
    fields: { label: "int64", values: { dtype: "float32", shape: [1000] } },
    shard: (n) =>
      tfrecordShard(repeated(n, (i) => encodeExample({ label: { ints: [i % 1000] }, values: { floats: new Array(1000).fill(0.5) } })))
        .bytes,
  },
];

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ["gc"] });

const EPOCHS = 12;
const place = await mkdtemp(join(tmpdir(), "millrace-bench-"));
try {
  console.log("case".padEnd(40), "µs/sample", " CPU s/GB", " heap B/sample", " collections");
  for (const each of CASES.filter(({ name }) => names.length === 0 || names.some((part) => name.includes(part)))) {
    const bytes = each.shard(each.samples);
    if (each.file.endsWith(".tfrecord")) bare(each, bytes);
    for (const recycle of [true, false]) await measure(each, bytes, recycle);
  }
} finally {
  await rm(place, { recursive: true });
}

/** What must be done to a record whatever the code: its checksum, and one copy into memory that is there. */
function bare({ name, samples, batchSize }: Case, bytes: Uint8Array): void {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  const size = Math.floor(bytes.length / samples);
  const target = new Uint8Array(batchSize * size).fill(1);
  const cpus: number[] = [];
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const start = process.cpuUsage();
    for (let i = 0; i < samples; i++) {
      const record = shared.subarray(i * size, (i + 1) * size);
      crc32c(record);
      copyBytes(target, (i % batchSize) * size, record);
    }
    const { user, system } = process.cpuUsage(start);
    cpus.push((user + system) / 1e6);
  }
  print(`${name}, bare`, samples, bytes.length, Math.min(...cpus), "");
}

function print(name: string, samples: number, bytes: number, cpu: number, more: string): void {
  const figures = [((cpu / samples) * 1e6).toFixed(2).padStart(8), ((cpu / bytes) * 1e9).toFixed(3).padStart(9), more];
  console.log(name.padEnd(46), ...figures);
}

async function measure({ name, file, samples, batchSize, fields }: Case, bytes: Uint8Array, recycle: boolean): Promise<void> {
  await writeFile(join(place, file), bytes);
  const mill = await openMillrace({ engine: "inline", cache: { memory: "1GiB" } });
  const dataset = await mill.dataset(pathToFileURL(join(place, file)).href, { fields });
  const loader = dataset.loader({ batchSize, shuffle: { seed: 1 }, recycle });
  const cpus: number[] = [];
  let allocated = Number.POSITIVE_INFINITY;
  const before = collections;
  // One run over all epochs: what the loop gives back is used again in the next.
  for (const epoch of loader.epochs(EPOCHS)) {
    const start = process.cpuUsage();
    let grown = 0;
    let last = process.memoryUsage().heapUsed;
    for await (const batch of epoch) {
      batch.release();
      const now = process.memoryUsage().heapUsed;
      // A collection in between hides one batch's growth.
      grown += Math.max(0, now - last);
      last = now;
    }
    const { user, system } = process.cpuUsage(start);
    if (epoch.number === 0) continue;
    cpus.push((user + system) / 1e6);
    allocated = Math.min(allocated, grown);
  }
  await mill.close();
  const more = `${(allocated / samples).toFixed(0).padStart(14)} ${String(collections - before).padStart(8)}`;
  print(`${name}${recycle ? ", recycled" : ", fresh"}`, samples, bytes.length, Math.min(...cpus), more);
}

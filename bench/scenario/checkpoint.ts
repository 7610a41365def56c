/**
 * A checkpoint of 512 MB: loaded from an origin shaped like S3, from nginx and from each tier, by one node and by four at once; and saved.
 * Each time the bytes end in fresh memory, and their checksum is held against the origin's. Beside loads stand one plain GET, and ceilings written by hand;
 * beside the save the SDK's own multipart upload, with Millrace's size and number of parts. `no cache` runs as plain JavaScript: its peak
 * is that of a first load by a mill that was just opened.
 */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Origin, type OriginInfo, type Shape, startOrigin } from "../../test/support/origin/index.js";
import { s3Options } from "../../test/support/s3-options.js";
import { backMemory } from "../lib/back-memory.js";
import { type CheckpointSize, checkpointFile } from "../lib/checkpoint-data.js";
import { type Nginx, startNginx } from "../lib/nginx.js";
import { type PlainJs, plainJs } from "../lib/plain-js.js";
import type { Bar, Figures, PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import type { CheckpointCeilingParameters } from "../subject/checkpoint-ceiling.js";
import type { CheckpointLoadParameters } from "../subject/checkpoint-load.js";
import type { CheckpointLoopParameters } from "../subject/checkpoint-loop.js";
import type { CheckpointNodesParameters } from "../subject/checkpoint-nodes.js";
import type { CheckpointSaveParameters } from "../subject/checkpoint-save.js";
import type { PlainGetParameters } from "../subject/plain-get.js";

const BUCKET = "bench";
const NAME = "model.safetensors";
const WARM_UP = "warm-up.safetensors";
const FULL: CheckpointSize = { tensors: 64, tensorBytes: 8e6 };
/** Three parts of an upload. */
const SMALL: CheckpointSize = { tensors: 5, tensorBytes: 4e6 };
const PASSES = 4;
const MEMORY = "1GiB";
const DISK = "2GiB";
const NODES = 4;
/** The result, what the cache keeps of it, and what is in flight. */
const FRESH_BYTES = 1.5 * 2 ** 30;
const STEP_MS = 50;
/** As those of Millrace's uploads: `storage/s3-write.ts`. */
const PARTS = { partBytes: 8 * 2 ** 20, partsAtOnce: 8 };

/** Of one connection, and of all together. */
const LIKE_S3: Shape = { firstByteMs: 30, connectionBytesPerSecond: 60e6, totalBytesPerSecond: 600e6 };
const SLOW: Shape = { ...LIKE_S3, connectionBytesPerSecond: 10e6 };
const CAPPED: Shape = { firstByteMs: 30, totalBytesPerSecond: 200e6 };
/** An upload in the background takes long enough for many steps. */
const LATE: Shape = { firstByteMs: 100 };

const LINKED = "millrace, origin like S3";
const PLAIN = "one GET, origin like S3";
const PLAIN_SLOW = "one GET, 10 MB/s";
const CEILING = "ceiling";
const MILLRACE = "millrace";
const WITH_DISK = "millrace with disk";
const NO_CACHE = "millrace, no cache";
const TOGETHER = `${NODES} nodes`;
const SAVE = "save, millrace";
const SAVE_STREAM = "save, SDK from a stream";
const SAVE_BUFFER = "save, SDK from a buffer";
const LOOP = `loop of ${STEP_MS} ms steps`;
/** What takes fresh memory in its first passes only. */
const TAKE_ONCE: ReadonlySet<string> = new Set([PLAIN, LINKED, SAVE_BUFFER, SAVE_STREAM, SAVE]);
/** Others get an origin that shapes nothing. */
const SHAPES: Readonly<Record<string, Shape>> = {
  [LINKED]: LIKE_S3,
  [PLAIN]: LIKE_S3,
  [PLAIN_SLOW]: SLOW,
  [TOGETHER]: CAPPED,
};

const PLAIN_JS = [
  "src",
  "test/support/datasets",
  ...["checkpoint-data", "process-memory", "subject"].map((name) => `bench/lib/${name}.ts`),
  "bench/subject/checkpoint-load.ts",
];

interface Place {
  readonly origin: Origin;
  /** The loop's. */
  readonly late: Origin;
  readonly nginx: Nginx;
  readonly js: PlainJs;
  /** nginx's root, and where caches are made. */
  readonly root: string;
  readonly diskFolder: string;
  readonly size: CheckpointSize;
  readonly fileBytes: number;
  readonly headerBytes: number;
  /** What every load must show. */
  readonly data: Figures;
  readonly smoke: boolean;
}

const script = (name: string) => new URL(`../subject/${name}.ts`, import.meta.url);

function loads({ origin, nginx, js, root, diskFolder, fileBytes, headerBytes, data, smoke }: Place): Subject[] {
  const passes = smoke ? 1 : PASSES;
  const plain: PlainGetParameters = { url: `${origin.endpoint}/${BUCKET}/${NAME}`, headerBytes };
  const ceiling: CheckpointCeilingParameters = { endpoint: nginx.endpoint, root, path: `/${NAME}`, fileBytes, headerBytes, passes };
  const load = (name: string, chosen: Pick<CheckpointLoadParameters, "phases"> & Partial<CheckpointLoadParameters>): Subject => {
    const parameters: CheckpointLoadParameters = { uri: nginx.endpoint, path: NAME, memory: MEMORY, passes, ...chosen };
    return { name, script: script("checkpoint-load"), parameters: { ...parameters }, expected: data };
  };
  return [
    { name: PLAIN, script: script("plain-get"), parameters: { ...plain }, expected: data },
    load(LINKED, { uri: `s3://${BUCKET}`, s3: s3Options(origin), phases: ["first", "cold"], passes: 1 }),
    { name: PLAIN_SLOW, script: script("plain-get"), parameters: { ...plain }, expected: data, rounds: 1 },
    { name: CEILING, script: script("checkpoint-ceiling"), parameters: { ...ceiling }, expected: data },
    load(MILLRACE, { phases: ["cold", "memory"] }),
    load(WITH_DISK, { phases: ["disk"], memory: "0", diskFolder, diskCapacity: DISK }),
    { ...load(NO_CACHE, { phases: ["first"], memory: "0" }), script: js.url("bench/subject/checkpoint-load.ts") },
  ];
}

const infoOf = ({ endpoint, controlUrl, credentials, region }: Origin): OriginInfo => ({ endpoint, controlUrl, credentials, region });

function savesAndNodes({ origin, late, diskFolder, size, fileBytes, headerBytes, data, smoke }: Place): Subject[] {
  const info = infoOf(origin);
  const nodes: CheckpointNodesParameters = {
    origin: info,
    bucket: BUCKET,
    path: NAME,
    warmUp: WARM_UP,
    fileBytes,
    memory: MEMORY,
    nodes: smoke ? 2 : NODES,
  };
  const save = (name: string, by: CheckpointSaveParameters["by"]): Subject => {
    const common = { origin: info, bucket: BUCKET, key: "saved.safetensors", size, memory: MEMORY, passes: smoke ? 1 : PASSES };
    const parameters: CheckpointSaveParameters = { ...common, ...PARTS, by };
    return { name, script: script("checkpoint-save"), parameters: { ...parameters }, expected: data };
  };
  const loop: CheckpointLoopParameters = {
    origin: infoOf(late),
    bucket: BUCKET,
    size,
    headerBytes,
    diskFolder,
    diskCapacity: DISK,
    stepMs: STEP_MS,
    aloneSteps: smoke ? 4 : 40,
    saves: smoke ? 1 : 3,
  };
  return [
    { name: TOGETHER, script: script("checkpoint-nodes"), parameters: { ...nodes }, expected: data },
    save(SAVE_BUFFER, "SDK, buffer"),
    save(SAVE_STREAM, "SDK, stream"),
    save(SAVE, "millrace"),
    { name: LOOP, script: script("checkpoint-loop"), parameters: { ...loop }, expectedIn: { "back, uploading": data } },
  ];
}

/** `closing` is given what must be ended, as soon as it is there. */
async function prepareIn(folder: string, smoke: boolean, closing: (() => Promise<unknown>)[]): Promise<PreparedScenario> {
  const [root, diskFolder] = [join(folder, "www"), join(folder, "disk")];
  await mkdir(root);
  await mkdir(diskFolder);
  const size = smoke ? SMALL : FULL;
  const { file, headerBytes, data } = checkpointFile(size);
  await writeFile(join(root, NAME), file, { flush: true });
  const origin = await startOrigin({ anonymousRead: true, buckets: [BUCKET] });
  closing.push(() => origin.close());
  const late = await startOrigin({ anonymousRead: true, buckets: [BUCKET] });
  closing.push(() => late.close());
  if (!smoke) await late.shape(LATE);
  await origin.put(BUCKET, NAME, file);
  await origin.put(BUCKET, WARM_UP, checkpointFile({ tensors: 1, tensorBytes: 400_000 }).file);
  const nginx = await startNginx(root);
  closing.push(() => nginx.close());
  const js = await plainJs(PLAIN_JS);
  closing.push(() => js.close());
  const place: Place = { origin, late, nginx, js, root, diskFolder, size, fileBytes: file.byteLength, headerBytes, data, smoke };
  return {
    subjects: [...loads(place), ...savesAndNodes(place)],
    async reset({ name }) {
      if (smoke) return;
      await origin.shape(SHAPES[name] ?? {});
      // Where others take fresh memory in each of their passes. Giving it back goes on for seconds, beside whatever runs then.
      if (TAKE_ONCE.has(name)) await backMemory(FRESH_BYTES);
    },
    close: async () => {},
  };
}

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-checkpoint-"));
  const closing = [() => rm(folder, { recursive: true, force: true })];
  const close = async () => {
    for (const end of closing.splice(0).reverse()) await end();
  };
  try {
    return { ...(await prepareIn(folder, smoke, closing)), close };
  } catch (error) {
    await close();
    throw error;
  }
}

const RATE = "gigabytesPerSecond";
const SECONDS = "wallSeconds";
const againstCeiling = (name: string, subject: string, phase: string, atLeast: number): Bar => ({
  name: `${name}: throughput ÷ ceiling`,
  atLeast,
  value: (of) => of(subject, phase, RATE) / of(CEILING, phase, RATE),
});

export const scenario: Scenario = {
  name: "checkpoint",
  title: "A checkpoint of 512 MB, loaded and saved",
  rounds: 3,
  byNameOnly: true,
  columns: [
    { figure: RATE, title: "GB/s", digits: 2, chart: true },
    { figure: SECONDS, title: "s", digits: 2 },
    { figure: "cpuSecondsPerGigabyte", title: "CPU s/GB", digits: 2 },
    { figure: "extraPeakMegabytes", title: "peak besides the result, MB", digits: 0 },
    { figure: "originShare", title: "origin bytes ÷ checkpoint", digits: 3 },
    { figure: "stepMs", title: "step, ms", digits: 2 },
    { figure: "longestStepMs", title: "longest step, ms", digits: 1 },
  ],
  bars: [
    {
      name: "origin like S3: time of one GET ÷ Millrace",
      atLeast: 7,
      value: (of) => of(PLAIN, "cold", SECONDS) / of(LINKED, "first", SECONDS),
    },
    againstCeiling("cold, nginx", MILLRACE, "cold", 0.85),
    {
      name: "one GET at 10 MB/s ÷ warm reload from disk",
      atLeast: 60,
      value: (of) => of(PLAIN_SLOW, "cold", SECONDS) / of(WITH_DISK, "disk", SECONDS),
    },
    againstCeiling("warm, memory", MILLRACE, "memory", 0.8),
    againstCeiling("warm, disk", WITH_DISK, "disk", 0.8),
    { name: `${TOGETHER}: origin bytes ÷ checkpoint`, atMost: 1.02, value: (of) => of(TOGETHER, "together", "originShare") },
    {
      name: `${TOGETHER}: slowest node's time ÷ one alone`,
      atMost: 1.5,
      value: (of) => of(TOGETHER, "together", SECONDS) / of(TOGETHER, "alone", SECONDS),
    },
    { name: "peak while loading besides the result, MB", atMost: 64, value: (of) => of(NO_CACHE, "first", "extraPeakMegabytes") },
    { name: "save: throughput ÷ SDK's", atLeast: 1, value: (of) => of(SAVE, "through", RATE) / of(SAVE_BUFFER, "through", RATE) },
    {
      name: "save: CPU ÷ SDK's",
      atMost: 0.8,
      value: (of) => of(SAVE, "through", "cpuSeconds") / of(SAVE_BUFFER, "through", "cpuSeconds"),
    },
    {
      name: "step while a back save uploads ÷ step alone",
      atMost: 1.02,
      value: (of) => of(LOOP, "back, uploading", "stepMs") / of(LOOP, "alone", "stepMs"),
    },
  ],
  prepare,
};

/**
 * Epochs of 4,096 samples of 110 KB from nginx, in TFRecord and in tar shards: cold, from the memory tier, from the disk tier. Beside
 * Millrace stand ceilings, and what people use today: a loop of SDK calls over single objects, and tfjs-data.
 */
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { linkShards, readOf, SAMPLE_BYTES, type Shard, type ShardFormat, writeObjects, writeShards } from "../lib/data.js";
import { BATCH_SIZE, ceilingSubject, type EpochData, type EpochSize, FULL, MEMORY, millraceSubject, SMOKE } from "../lib/epochs.js";
import { type Nginx, startNginx } from "../lib/nginx.js";
import type { Bar, PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import type { SdkFilesParameters } from "../subject/sdk-files.js";
import type { TfjsDataParameters } from "../subject/tfjs-data.js";

interface Sizes extends EpochSize {
  /** Loops over single objects are so slow that a part of the samples gives their rate. */
  readonly sdkObjects: number;
  readonly tfjsObjects: number;
  /** One large shard under so many names: with fewer than 12 the order's chunks are shorter than a span. */
  readonly largeShards: number;
}
const SIZES: Sizes = { ...FULL, sdkObjects: 1536, tfjsObjects: 512, largeShards: 16 };
const SMOKE_SIZES: Sizes = { ...SMOKE, sdkObjects: 64, tfjsObjects: 64, largeShards: 2 };
/** Read by these loops before the clock starts. */
const WARM_UP_OBJECTS = 64;
/** Subjects that take long, or say the same each time. */
const FEWER_ROUNDS = 3;

const LARGE = "millrace, 16 shards of 256 MB";
const LARGE_CEILING = "ceiling, 16 shards of 256 MB";
/** A quarter of them. */
const LARGE_MEMORY = "1GiB";
/** Folder of the single objects: the bucket, to the AWS SDK. */
const OBJECTS = "objects";
const SDK_IN_FLIGHT = 8;
const DISK = "2GiB";

function subjectsOf(nginx: Nginx, data: EpochData, diskFolder: string): Subject[] {
  const { format } = data;
  const batches = { work: "batches", memory: "fresh" } as const;
  return [
    millraceSubject(`millrace, ${format}`, nginx, data, { memory: MEMORY, phases: ["cold", "memory", "memory, recycled"] }),
    millraceSubject(`millrace with disk, ${format}`, nginx, data, { memory: "0", diskFolder, diskCapacity: DISK, phases: ["disk"] }),
    ceilingSubject(`ceiling, ${format}`, nginx, data, [
      { ...batches, name: "cold", source: "socket" },
      { ...batches, name: "disk", source: "file" },
      { ...batches, name: "memory", source: "memory" },
      { ...batches, name: "memory, recycled", source: "memory", memory: "reused" },
    ]),
    ceilingSubject(`ceiling, sockets in a third thread, ${format}`, nginx, data, [{ ...batches, name: "cold", source: "threaded" }]),
  ];
}

/** Loops over single objects. */
function sdkSubject(name: string, nginx: Nginx, objects: readonly Shard[]): Subject {
  const keys = objects.map(({ path }) => path.slice(`/${OBJECTS}/`.length));
  const credentials = { accessKeyId: "any", secretAccessKey: "any" };
  const parameters: SdkFilesParameters = {
    origin: { endpoint: nginx.endpoint, region: "us-east-1", credentials },
    bucket: OBJECTS,
    keys,
    warmUp: keys.slice(0, WARM_UP_OBJECTS),
    batchSize: BATCH_SIZE,
    sampleBytes: SAMPLE_BYTES,
    headerBytes: 0,
    inFlight: SDK_IN_FLIGHT,
    phase: "cold",
  };
  return loopSubject(name, new URL("../subject/sdk-files.ts", import.meta.url), { ...parameters }, objects);
}

function tfjsSubject(name: string, nginx: Nginx, objects: readonly Shard[]): Subject {
  const paths = objects.map(({ path }) => path);
  const warmUp = Math.min(paths.length, WARM_UP_OBJECTS);
  const parameters: TfjsDataParameters = { endpoint: nginx.endpoint, paths, warmUp, batchSize: BATCH_SIZE };
  return loopSubject(name, new URL("../subject/tfjs-data.ts", import.meta.url), { ...parameters }, objects);
}

function loopSubject(name: string, script: URL, parameters: Subject["parameters"], objects: readonly Shard[]): Subject {
  return { name, script, parameters, expected: { ...readOf(objects) }, rounds: FEWER_ROUNDS };
}

async function prepareIn(folder: string, sizes: Sizes): Promise<{ nginx: Nginx; subjects: Subject[] }> {
  const [root, diskFolder] = [join(folder, "www"), join(folder, "disk")];
  await mkdir(root);
  await mkdir(diskFolder);
  const write = async (format: ShardFormat): Promise<EpochData> => ({
    root,
    folder: format,
    format,
    shards: await writeShards(root, format, format, sizes),
    passes: sizes.passes,
  });
  const [tfrecord, tar] = [await write("tfrecord"), await write("tar")];
  const many = await linkShards(root, "many", "tfrecord", tfrecord.shards[0]!, sizes.largeShards);
  const objects = await writeObjects(root, OBJECTS, Math.max(sizes.sdkObjects, sizes.tfjsObjects));
  const nginx = await startNginx(root);
  const large = { root, folder: "many", format: "tfrecord", shards: many, passes: 1 } as const;
  return {
    nginx,
    subjects: [
      ...subjectsOf(nginx, tfrecord, diskFolder),
      ceilingSubject("bare socket, tfrecord", nginx, tfrecord, [{ name: "cold", source: "socket", work: "bare", memory: "reused" }]),
      ceilingSubject("undici dispatch, tfrecord", nginx, tfrecord, [{ name: "cold", source: "undici", work: "batches", memory: "fresh" }]),
      ...subjectsOf(nginx, tar, diskFolder),
      sdkSubject("AWS SDK, 8 in flight", nginx, objects.slice(0, sizes.sdkObjects)),
      tfjsSubject("tfjs-data, prefetch 8", nginx, objects.slice(0, sizes.tfjsObjects)),
      millraceSubject(LARGE, nginx, large, { memory: LARGE_MEMORY, phases: ["cold"] }),
      ceilingSubject(LARGE_CEILING, nginx, large, [{ name: "cold", source: "socket", work: "batches", memory: "fresh" }], LARGE_MEMORY),
    ],
  };
}

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-epochs-"));
  const removeFolder = () => rm(folder, { recursive: true, force: true });
  try {
    const { nginx, subjects } = await prepareIn(folder, smoke ? SMOKE_SIZES : SIZES);
    const close = async () => {
      await nginx.close();
      await removeFolder();
    };
    return { subjects, close };
  } catch (error) {
    await removeFolder();
    throw error;
  }
}

const RATE = "samplesPerSecond";
const CPU = "cpuSecondsPerGigabyte";
const barsOf = (format: ShardFormat): Bar[] => [
  {
    name: `${format}, cold: throughput ÷ ceiling`,
    atLeast: 0.85,
    value: (of) => of(`millrace, ${format}`, "cold", RATE) / of(`ceiling, ${format}`, "cold", RATE),
  },
  {
    name: `${format}, cold: CPU s/GB ÷ ceiling's`,
    atMost: 1.3,
    value: (of) => of(`millrace, ${format}`, "cold", CPU) / of(`ceiling, ${format}`, "cold", CPU),
  },
  {
    name: `${format}, from memory, recycled: throughput ÷ ceiling`,
    atLeast: 0.85,
    value: (of) => of(`millrace, ${format}`, "memory, recycled", RATE) / of(`ceiling, ${format}`, "memory, recycled", RATE),
  },
  {
    name: `${format}, from disk: throughput ÷ ceiling`,
    atLeast: 0.7,
    value: (of) => of(`millrace with disk, ${format}`, "disk", RATE) / of(`ceiling, ${format}`, "disk", RATE),
  },
];
const coldAgainst = (name: string, subject: string, atLeast: number): Bar => ({
  name: `cold: samples/s ÷ ${name}`,
  atLeast,
  value: (of) => of("millrace, tfrecord", "cold", RATE) / of(subject, "cold", RATE),
});

export const scenario: Scenario = {
  name: "epochs",
  title: "4,096 samples of 110 KB in shards of up to 256 MB, batches of 64, from nginx on loopback",
  rounds: 3,
  columns: [
    { figure: "samplesPerSecond", title: "samples/s", digits: 0, chart: true },
    { figure: "gigabytesPerSecond", title: "GB/s", digits: 2 },
    { figure: "cpuSecondsPerGigabyte", title: "CPU s/GB", digits: 2, chart: true },
    { figure: "requestsPerGigabyte", title: "requests/GB", digits: 0 },
  ],
  bars: [
    ...barsOf("tfrecord"),
    ...barsOf("tar"),
    {
      name: "16 shards of 256 MB, cold: throughput ÷ ceiling",
      atLeast: 0.85,
      value: (of) => of(LARGE, "cold", RATE) / of(LARGE_CEILING, "cold", RATE),
    },
    {
      name: "16 shards of 256 MB, cold: CPU s/GB ÷ ceiling's",
      atMost: 1.3,
      value: (of) => of(LARGE, "cold", CPU) / of(LARGE_CEILING, "cold", CPU),
    },
    coldAgainst("undici dispatch", "undici dispatch, tfrecord", 0.8),
    coldAgainst("AWS SDK a sample, 8 in flight", "AWS SDK, 8 in flight", 8),
    coldAgainst("tfjs-data", "tfjs-data, prefetch 8", 8),
    {
      name: "cold, shards of 256 MB: requests to the origin per GB",
      atMost: 130,
      value: (of) => of(LARGE, "cold", "requestsPerGigabyte"),
    },
  ],
  prepare,
};

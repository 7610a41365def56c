/**
 * Many small files: one-second WAV files, as in Speech Commands, from an origin whose first byte takes 30 ms. Direct is an AWS SDK
 * call a file with 8 in flight, each epoch anew; beside it Millrace's first epoch, and one from its memory tier.
 */
import { randomBytes } from "../../test/support/datasets/index.js";
import { type Origin, startOrigin } from "../../test/support/origin/index.js";
import type { PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import { Tally } from "../lib/subject.js";
import type { SdkFilesParameters } from "../subject/sdk-files.js";

const BUCKET = "bench";
const FIRST_BYTE_MS = 30;
const FILE_BYTES = 32 * 1024;
const BATCH_SIZE = 64;
const DIRECT_IN_FLIGHT = 8;
/** Files in flight to the origin's own control port while it is filled. */
const UPLOADS_AT_ONCE = 16;
/** Keys of one page of a listing. */
const PAGE_KEYS = 1000;

/** PCM, one channel, 16 bits: the smallest header there is. */
const HEADER_BYTES = 44;
const SAMPLE_RATE = 16_000;

function wavFile(seed: number): Uint8Array {
  const file = Buffer.alloc(FILE_BYTES);
  const fmt = 16;
  file.write("RIFF", 0, "latin1");
  file.writeUInt32LE(FILE_BYTES - 8, 4);
  file.write("WAVEfmt ", 8, "latin1");
  file.writeUInt32LE(fmt, 16);
  file.writeUInt16LE(1, 20);
  file.writeUInt16LE(1, 22);
  file.writeUInt32LE(SAMPLE_RATE, 24);
  file.writeUInt32LE(SAMPLE_RATE * 2, 28);
  file.writeUInt16LE(2, 32);
  file.writeUInt16LE(16, 34);
  file.write("data", 36, "latin1");
  file.writeUInt32LE(FILE_BYTES - HEADER_BYTES, 40);
  file.set(randomBytes(FILE_BYTES - HEADER_BYTES, seed), HEADER_BYTES);
  return file;
}

/** Fills the origin; returns what reading all files gives, and what reading the first `part` of them does. */
async function upload(origin: Origin, prefix: string, count: number, part: number, firstSeed: number) {
  const keys = Array.from({ length: count }, (_, i) => `${prefix}/${String(i).padStart(6, "0")}.wav`);
  const [all, first] = [new Tally(), new Tally()];
  let next = 0;
  const uploader = async () => {
    for (let i = next++; i < count; i = next++) {
      const file = wavFile(firstSeed + i);
      all.add(file, HEADER_BYTES, FILE_BYTES);
      if (i < part) first.add(file, HEADER_BYTES, FILE_BYTES);
      await origin.put(BUCKET, keys[i]!, file);
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, uploader));
  return { keys, all: { ...all }, first: { ...first } };
}

async function prepare({ smoke, long }: PrepareOptions): Promise<PreparedScenario> {
  const files = smoke ? 1_050 : 20_000;
  // At 8 in 30 ms all 20,000 files take 80 s: a part of them gives the rate.
  const directFiles = smoke ? 80 : long ? files : 1_600;
  const origin = await startOrigin({ shape: smoke ? {} : { firstByteMs: FIRST_BYTE_MS }, buckets: [BUCKET] });
  try {
    const data = await upload(origin, "wav", files, directFiles, 0);
    const warmUp = await upload(origin, "warm-up", 64, 0, files);
    const common = { origin, bucket: BUCKET, batchSize: BATCH_SIZE, headerBytes: HEADER_BYTES };
    const direct: SdkFilesParameters = {
      ...common,
      sampleBytes: FILE_BYTES,
      inFlight: DIRECT_IN_FLIGHT,
      keys: data.keys.slice(0, directFiles),
      warmUp: warmUp.keys,
      phase: "direct",
    };
    const subjects: Subject[] = [
      {
        name: "direct",
        script: new URL("../subject/sdk-files.ts", import.meta.url),
        parameters: { ...direct },
        expected: data.first,
      },
      {
        name: "millrace",
        script: new URL("../subject/millrace-files.ts", import.meta.url),
        parameters: { ...common, prefix: "wav", memory: "2GiB" },
        expectedIn: {
          // And one for the first file, to see that it has the fields.
          listing: { requests: Math.ceil(files / PAGE_KEYS) + 1 },
          cold: data.all,
          warm: { ...data.all, requests: 0 },
        },
      },
    ];
    return { subjects, reset: () => origin.reset(), close: () => origin.close() };
  } catch (error) {
    await origin.close();
    throw error;
  }
}

const rate = "samplesPerSecond";

export const scenario: Scenario = {
  name: "small-files",
  title: `20,000 WAV files of 32 KB, ${FIRST_BYTE_MS} ms to the first byte`,
  rounds: 2,
  columns: [
    { figure: rate, title: "samples/s", digits: 0, chart: true },
    { figure: "cpuSecondsPerGigabyte", title: "CPU s/GB", digits: 2 },
    { figure: "requests", title: "requests", digits: 0 },
    { figure: "wallSeconds", title: "s", digits: 2 },
  ],
  bars: [
    {
      name: "warm: samples/s ÷ direct with 8 in flight",
      atLeast: 20,
      value: (of) => of("millrace", "warm", rate) / of("direct", "direct", rate),
    },
    {
      name: "cold: requests a file, hedges too",
      atMost: 1.05,
      value: (of) => of("millrace", "cold", "requests") / of("millrace", "cold", "samples"),
    },
  ],
  prepare,
};

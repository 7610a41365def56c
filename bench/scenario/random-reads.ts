/**
 * Random reads of a large file: 64 KB at a time, one after another, from an object of 512 MB whose first byte takes 30 ms. Direct are
 * ranged GETs over a kept connection, by undici (the faster) and by the AWS SDK; beside them the same reads through `mill.open`,
 * before and after `mill.prefetch`.
 */
import { randomBytes } from "../../test/support/datasets/index.js";
import { startOrigin } from "../../test/support/origin/index.js";
import { seededRandom } from "../../test/support/origin/shaping.js";
import type { PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import { Tally } from "../lib/subject.js";

const BUCKET = "bench";
const KEY = "large.bin";
const FIRST_BYTE_MS = 30;
const SHAPE = { firstByteMs: FIRST_BYTE_MS, connectionBytesPerSecond: 90e6 };
const READ_BYTES = 64 * 1024;
/** Reads begin at pages, as those of a file system do. */
const PAGE_BYTES = 4096;

function tallyOf(object: Uint8Array, begins: readonly number[]): Tally {
  const tally = new Tally();
  for (const begin of begins) tally.add(object, begin, begin + READ_BYTES);
  return tally;
}

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const bytes = smoke ? 16 * 2 ** 20 : 512e6;
  const directReads = smoke ? 10 : 100;
  const object = randomBytes(bytes, 1);
  const random = seededRandom(1);
  const pages = Math.floor((bytes - READ_BYTES) / PAGE_BYTES) + 1;
  const begins = Array.from({ length: smoke ? 100 : 5_000 }, () => Math.floor(random() * pages) * PAGE_BYTES);
  const direct = begins.slice(0, directReads);
  const origin = await startOrigin({ shape: smoke ? {} : SHAPE, anonymousRead: true, buckets: [BUCKET] });
  try {
    await origin.put(BUCKET, KEY, object);
    const common = { origin, bucket: BUCKET, key: KEY, readBytes: READ_BYTES };
    const part = { ...tallyOf(object, direct) };
    const subjects: Subject[] = [
      ...(["undici", "aws-sdk"] as const).map((client) => ({
        name: client,
        script: new URL("../subject/direct-reads.ts", import.meta.url),
        parameters: { ...common, client, begins: direct },
        expected: part,
      })),
      {
        name: "millrace",
        script: new URL("../subject/millrace-reads.ts", import.meta.url),
        parameters: { ...common, memory: "768MiB", begins, coldReads: directReads },
        expectedIn: { cold: part, prefetch: { bytes, failures: 0 }, warm: { ...tallyOf(object, begins) } },
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
  name: "random-reads",
  title: `64 KB at random places of a 512 MB object, one after another, ${FIRST_BYTE_MS} ms to the first byte`,
  rounds: 3,
  columns: [
    { figure: rate, title: "reads/s", digits: 0, chart: true },
    { figure: "gigabytesPerSecond", title: "GB/s", digits: 3 },
    { figure: "wallSeconds", title: "s", digits: 2 },
  ],
  bars: [
    {
      name: "prefetched: reads/s ÷ direct",
      atLeast: 60,
      value: (of) => of("millrace", "warm", rate) / of("undici", "direct", rate),
    },
  ],
  prepare,
};

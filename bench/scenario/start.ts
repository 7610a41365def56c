/**
 * Time to the first batch, from `mill.dataset()` on. It is counted in what it cannot do without: round trips to the origin, and the bytes of
 * the blocks in which the batch's samples lie, at the origin's bandwidth, as if all of them were fetched at once and nothing else was:
 *
 *   round trips = (time to the first batch − blocks × block size ÷ bandwidth) ÷ round trip
 *
 * A round trip is measured beside it: a request that carries nothing, on an open connection. Three is one for the listing, one for the data, and
 * one for all that is not waiting. To open a connection takes no round trip here, where the latency is the origin's own: on a network it is one
 * more, and with TLS two, for the listing and again for the data. The start of the process is not in it, nor that of the engine
 * (`openMillrace`), which is printed. Nothing known: listing, the index files beside the shards, a first record to see its fields, data. Index on
 * disk: another process has read indexes and fields into the cache directory; a listing is not kept there. Same mill: listing, indexes and fields
 * are in memory. Blocks are in no cache.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openMillrace } from "../../src/index.js";
import { startOrigin } from "../../test/support/origin/index.js";
import { s3Options } from "../../test/support/s3-options.js";
import { uploadShards } from "../lib/origin-shards.js";
import { plainJs } from "../lib/plain-js.js";
import type { Lookup, PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import { RESNET50 } from "../lib/workloads.js";
import type { StartParameters } from "../subject/first-batch.js";

const BUCKET = "bench";
const FOLDER = `${BUCKET}/train`;
const { sampleBytes: SAMPLE_BYTES, batchSize: BATCH_SIZE } = RESNET50;
/** TFRecord's header and footer of a record. */
const FRAME_BYTES = 16;
const FULL = { shards: 8, samplesPerShard: 256 };
const SMOKE = { shards: 2, samplesPerShard: 32 };
const FIRST_BYTE_MS = 30;
const BYTES_PER_SECOND = 300e6;
/** The default. */
const BLOCK_BYTES = 2 ** 20;

const NOTHING_KNOWN = "nothing known";
const INDEX_ON_DISK = "index on disk";
const SAME_MILL = "same mill";

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const made: (() => Promise<void>)[] = [];
  const close = async () => {
    await Promise.all(made.map((undo) => undo()));
  };
  try {
    const origin = await startOrigin({ buckets: [BUCKET], anonymousRead: true });
    made.push(() => origin.close());
    const folder = await mkdtemp(join(tmpdir(), "millrace-bench-"));
    made.push(() => rm(folder, { recursive: true }));
    const js = await plainJs(["src", "bench/lib/subject.ts", "bench/subject/first-batch.ts", "test/support/origin/client.ts"]);
    made.push(() => js.close());
    const set = { ...(smoke ? SMOKE : FULL), sampleBytes: SAMPLE_BYTES };
    await uploadShards(origin, BUCKET, "train", set);
    await origin.put(BUCKET, "tiny", new Uint8Array(0));
    const s3 = s3Options(origin);
    const { endpoint, controlUrl, credentials, region } = origin;
    const subject = (phase: string): Subject => {
      const parameters: StartParameters = {
        origin: { endpoint, controlUrl, credentials, region },
        s3,
        folder: FOLDER,
        ...set,
        recordBytes: SAMPLE_BYTES + FRAME_BYTES,
        blockBytes: BLOCK_BYTES,
        batchSize: BATCH_SIZE,
        cache: cacheIn(folder),
        bytesPerSecond: smoke ? 0 : BYTES_PER_SECOND,
        tinyUrl: `${endpoint}/${BUCKET}/tiny`,
        phase,
      };
      return {
        name: `millrace, ${phase}`,
        script: js.url("bench/subject/first-batch.ts"),
        parameters: { ...parameters },
        expected: { samples: BATCH_SIZE, bytes: BATCH_SIZE * SAMPLE_BYTES, heads: 0 },
        expectedIn: {
          [phase]: { lists: 1, indexReads: phase === NOTHING_KNOWN ? set.shards : 0 },
          [SAME_MILL]: { lists: 0, indexReads: 0 },
        },
      };
    };
    if (!smoke) await origin.shape({ firstByteMs: FIRST_BYTE_MS, totalBytesPerSecond: BYTES_PER_SECOND });
    return {
      subjects: [subject(NOTHING_KNOWN), subject(INDEX_ON_DISK)],
      async reset({ parameters }) {
        await rm(join(folder, "cache"), { recursive: true, force: true });
        if (parameters.phase !== INDEX_ON_DISK) return;
        await using mill = await openMillrace({ s3, cache: cacheIn(folder), engine: "inline" });
        await mill.dataset(`s3://${FOLDER}`, { fields: { record: "bytes" } });
        await mill.evict(`s3://${FOLDER}`);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function cacheIn(folder: string) {
  return { memory: "512MiB", disk: [{ path: join(folder, "cache"), capacity: "1GiB" }] };
}

const bar = (name: string, subject: string, phase: string) => ({
  name: `round trips to the first batch, beside its blocks: ${name}`,
  atMost: 3,
  value: (of: Lookup) => of(subject, phase, "roundTrips"),
});

export const scenario: Scenario = {
  name: "start",
  title: `First batch of ${BATCH_SIZE} samples of ${SAMPLE_BYTES / 1000} KB, ${FIRST_BYTE_MS} ms to the first byte, ${BYTES_PER_SECOND / 1e6} MB/s`,
  rounds: 3,
  columns: [
    { figure: "openMs", title: "openMillrace, ms", digits: 0 },
    { figure: "datasetMs", title: "dataset, ms", digits: 0 },
    { figure: "firstBatchMs", title: "first batch, ms", digits: 0, chart: true },
    { figure: "roundTripMs", title: "round trip, ms", digits: 1 },
    { figure: "blocks", title: "blocks", digits: 0 },
    { figure: "bytesMs", title: "their time, ms", digits: 0 },
    { figure: "datasetRoundTrips", title: "round trips, dataset", digits: 2 },
    { figure: "roundTrips", title: "round trips, all", digits: 2, chart: true },
    { figure: "lists", title: "LIST", digits: 0 },
    { figure: "indexReads", title: "GET of indexes", digits: 0 },
    { figure: "reads", title: "GET of data so far", digits: 0 },
    { figure: "sentMegabytes", title: "MB sent so far", digits: 0 },
  ],
  bars: [bar("index on disk", `millrace, ${INDEX_ON_DISK}`, INDEX_ON_DISK), bar("same mill", `millrace, ${NOTHING_KNOWN}`, SAME_MILL)],
  prepare,
};

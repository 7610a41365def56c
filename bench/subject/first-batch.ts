/** From a dataset's name to its first batch: in a fresh process, and again in the same mill with an empty block cache. */
import { get } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { type MillraceOptions, openMillrace, type S3Options } from "../../src/index.js";
import { connectOrigin } from "../../test/support/origin/client.js";
import type { OriginInfo } from "../../test/support/origin/types.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report, Tally } from "../lib/subject.js";

export interface StartParameters {
  readonly origin: OriginInfo;
  readonly s3: S3Options;
  /** Folder of the shards: `bucket/prefix`. All shards have as many samples, all samples are of one size. */
  readonly folder: string;
  readonly samplesPerShard: number;
  readonly sampleBytes: number;
  /** Bytes that a record takes in its shard. */
  readonly recordBytes: number;
  readonly blockBytes: number;
  readonly batchSize: number;
  readonly cache: MillraceOptions["cache"];
  /** Of the origin, 0 where there is no limit. */
  readonly bytesPerSecond: number;
  /** Answered with an empty body after the origin's latency. */
  readonly tinyUrl: string;
  /** Of the process's own start. */
  readonly phase: string;
}

const ROUND_TRIPS_MEASURED = 5;
const IDLE_POLL_MS = 10;
const given = parameters<StartParameters>();
const origin = connectOrigin(given.origin);

/** Median time of a request that carries nothing, on a connection that is there already, milliseconds. */
async function roundTrip(): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i <= ROUND_TRIPS_MEASURED; i++) {
    const begin = performance.now();
    await new Promise<void>((resolve, reject) => {
      const request = get(given.tinyUrl, (response) => response.resume().on("end", resolve).on("error", reject));
      request.on("error", reject);
    });
    // The first one opens the connection.
    if (i > 0) times.push(performance.now() - begin);
  }
  return times.sort((a, b) => a - b)[times.length >> 1]!;
}

/** Blocks in which these samples lie. */
function blocksOf(samples: Float64Array): number {
  const blocks = new Set<string>();
  for (const sample of samples) {
    const shard = Math.floor(sample / given.samplesPerShard);
    const begin = (sample % given.samplesPerShard) * given.recordBytes;
    const last = Math.floor((begin + given.recordBytes - 1) / given.blockBytes);
    for (let block = Math.floor(begin / given.blockBytes); block <= last; block++) blocks.add(`${shard}/${block}`);
  }
  return blocks.size;
}

/** Bodies that an epoch left unread would still fill the origin's line. */
async function untilOriginIsIdle(): Promise<void> {
  while ((await origin.stats()).inFlight > 0) await sleep(IDLE_POLL_MS);
}

/** The header tells: the arithmetic of the bar. */
async function start(mill: Awaited<ReturnType<typeof openMillrace>>): Promise<Figures> {
  await untilOriginIsIdle();
  await origin.reset();
  const asked = performance.now();
  const dataset = await mill.dataset(`s3://${given.folder}`, { fields: { record: "bytes" } });
  const opened = performance.now();
  const loader = dataset.loader({ batchSize: given.batchSize, shuffle: { seed: 1 } });
  for await (const batch of loader.epoch(0)) {
    const firstBatchMs = performance.now() - asked;
    const { kinds, keys, bytesSent } = await origin.stats();
    const { values, offsets } = batch.columns.record;
    const tally = new Tally();
    for (let row = 0; row < batch.size; row++) tally.add(values, offsets[row]!, offsets[row + 1]!);
    const blocks = blocksOf(batch.indices);
    const bytesMs = given.bytesPerSecond === 0 ? 0 : ((blocks * given.blockBytes) / given.bytesPerSecond) * 1000;
    const roundTripMs = await roundTrip();
    const indexReads = Object.entries(keys).reduce((sum, [key, { gets }]) => sum + (key.endsWith(".idx") ? gets : 0), 0);
    return {
      ...tally,
      firstBatchMs,
      datasetMs: opened - asked,
      roundTripMs,
      blocks,
      bytesMs,
      roundTrips: (firstBatchMs - bytesMs) / roundTripMs,
      datasetRoundTrips: (opened - asked) / roundTripMs,
      lists: kinds.list,
      heads: kinds.head,
      indexReads,
      reads: kinds.get - indexReads,
      sentMegabytes: bytesSent / 1e6,
    };
  }
  throw new Error("the dataset has no batch");
}

const begin = performance.now();
const mill = await openMillrace({ s3: given.s3, cache: given.cache });
const openMs = performance.now() - begin;
const first = await start(mill);
await mill.evict(`s3://${given.folder}`);
const again = await start(mill);
await mill.close();
report({ [given.phase]: { ...first, openMs }, "same mill": again });

/**
 * The loop blocks the main thread for nine tenths of the time, in steps of 50 ms as `session.run` does, and leaves it free. The origin is
 * narrow, so that neither the loop nor the machine is the bound: what is lost is lost to a main thread that serves nobody.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startOrigin } from "../../test/support/origin/index.js";
import { linkShards, readOf, SAMPLE_BYTES, writeShards } from "../lib/data.js";
import type { PreparedScenario, PrepareOptions, Scenario, Subject } from "../lib/scenario.js";
import type { BlockedLoopParameters } from "../subject/blocked-loop.js";

const BUCKET = "bench";
const ORIGIN_BYTES_PER_SECOND = 0.3e9;
const STEP_MS = 50;
const BLOCKED_SHARE = 0.9;
/** So long a batch that the origin brings one a step of which `BLOCKED_SHARE` is blocked. */
const BATCH_SIZE = Math.round((STEP_MS / 1000 / BLOCKED_SHARE) * (ORIGIN_BYTES_PER_SECOND / SAMPLE_BYTES));

interface Size {
  readonly samplesPerShard: number;
  /** One shard under so many names. 2.3 GB, 7.7 s: the last steps, for which all bytes are there, must not count much. */
  readonly shards: number;
}
const FULL: Size = { samplesPerShard: 2327, shards: 9 };
const SMOKE: Size = { samplesPerShard: 320, shards: 2 };

async function prepare({ smoke }: PrepareOptions): Promise<PreparedScenario> {
  const { samplesPerShard, shards } = smoke ? SMOKE : FULL;
  const root = await mkdtemp(join(tmpdir(), "millrace-blocked-main-"));
  const removeRoot = () => rm(root, { recursive: true, force: true });
  try {
    const [shard] = await writeShards(root, `${BUCKET}/one`, "tfrecord", { samples: samplesPerShard, samplesPerShard });
    const read = readOf(await linkShards(root, `${BUCKET}/data`, "tfrecord", shard!, shards));
    const origin = await startOrigin({ anonymousRead: true, root, shape: { totalBytesPerSecond: ORIGIN_BYTES_PER_SECOND } });
    const close = async () => {
      await origin.close();
      await removeRoot();
    };
    const subject = (name: string, engine: BlockedLoopParameters["engine"], stepMs: number): Subject => {
      const source = `s3://${BUCKET}/data`;
      const parameters: BlockedLoopParameters = { endpoint: origin.endpoint, source, batchSize: BATCH_SIZE, engine, stepMs };
      const script = new URL("../subject/blocked-loop.ts", import.meta.url);
      return { name, script, parameters: { ...parameters }, expected: { ...read } };
    };
    const subjects = [
      subject("millrace, main free", "worker", 0),
      subject("millrace, main blocked", "worker", STEP_MS),
      { ...subject("millrace inline, main free", "inline", 0), rounds: 1 },
      { ...subject("millrace inline, main blocked", "inline", STEP_MS), rounds: 1 },
    ];
    const observe = async () => ({ gigabytesSent: (await origin.stats()).bytesSent / 1e9 });
    return { subjects, reset: () => origin.reset(), observe, close };
  } catch (error) {
    await removeRoot();
    throw error;
  }
}

export const scenario: Scenario = {
  name: "blocked-main",
  title: "An origin of 0.3 GB/s, steps that block the main thread for 50 ms, nine tenths of the time",
  rounds: 2,
  columns: [
    { figure: "gigabytesPerSecond", title: "GB/s", digits: 3, chart: true },
    { figure: "blockedShare", title: "main blocked", digits: 2 },
    { figure: "gigabytesSent", title: "GB from the origin", digits: 2 },
  ],
  bars: [
    {
      name: "throughput with main blocked ÷ main free",
      atLeast: 0.95,
      value: (of) =>
        of("millrace, main blocked", "streamed", "gigabytesPerSecond") / of("millrace, main free", "streamed", "gigabytesPerSecond"),
    },
  ],
  prepare,
};

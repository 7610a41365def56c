/**
 * A training loop whose steps block its thread, as those of an accelerator do, without using the processor: alone, while a `back` save takes
 * the tensors over, and while it uploads. Between two steps the loop serves what has come for its thread.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openMillrace } from "../../src/index.js";
import type { OriginInfo } from "../../test/support/origin/index.js";
import { s3Options } from "../../test/support/s3-options.js";
import { type CheckpointSize, checked, namedTensors } from "../lib/checkpoint-data.js";
import { fetchWhole } from "../lib/plain-get.js";
import type { Figures } from "../lib/scenario.js";
import { parameters, report } from "../lib/subject.js";

export interface CheckpointLoopParameters {
  /** Its reads are anonymous. */
  readonly origin: OriginInfo;
  readonly bucket: string;
  readonly size: CheckpointSize;
  /** Before the data. */
  readonly headerBytes: number;
  readonly diskFolder: string;
  readonly diskCapacity: string;
  readonly stepMs: number;
  /** Steps of the loop alone, before each save. */
  readonly aloneSteps: number;
  readonly saves: number;
}

const given = parameters<CheckpointLoopParameters>();
const nobody = new Int32Array(new SharedArrayBuffer(4));

/** The times of steps until `end` settles, and of one more; milliseconds. */
async function stepsUntil(end: Promise<unknown>): Promise<number[]> {
  let over = false;
  void end.finally(() => {
    over = true;
  });
  const times: number[] = [];
  for (let begun = performance.now(); !over; ) {
    Atomics.wait(nobody, 0, 0, given.stepMs);
    await new Promise((resolve) => setImmediate(resolve));
    const now = performance.now();
    times.push(now - begun);
    begun = now;
  }
  await end;
  return times;
}

function figuresOf(times: readonly number[]): Figures {
  return { steps: times.length, stepMs: times.reduce((sum, time) => sum + time, 0) / times.length, longestStepMs: Math.max(...times) };
}

const directory = await mkdtemp(join(given.diskFolder, "cache-"));
const mill = await openMillrace({
  mounts: { "/ckpt": { uri: `s3://${given.bucket}`, admission: "lru" } },
  s3: s3Options(given.origin),
  cache: { memory: "64MiB", disk: [{ path: directory, capacity: given.diskCapacity }] },
});
const tensors = namedTensors(given.size);
const save = (number: number) => mill.saveCheckpoint(`/ckpt/loop-${number}.safetensors`, tensors, { write: "back" });
await save(0);
await mill.flush();

const [alone, taking, uploading]: number[][] = [[], [], []];
for (let number = 1; number <= given.saves; number++) {
  alone!.push(...(await stepsUntil(sleep(given.aloneSteps * given.stepMs))));
  taking!.push(...(await stepsUntil(save(number))));
  uploading!.push(...(await stepsUntil(mill.flush())));
}
await mill.close();
await rm(directory, { recursive: true });
const stored = await fetchWhole(`${given.origin.endpoint}/${given.bucket}/loop-${given.saves}.safetensors`);
const data = checked([stored.subarray(given.headerBytes)]);
report({ alone: figuresOf(alone!), "back, taking over": figuresOf(taking!), "back, uploading": { ...figuresOf(uploading!), ...data } });

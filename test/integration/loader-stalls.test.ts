/** The depth is told of waits of the loop that runs now, and of no other's. */
import { afterEach, expect, test, vi } from "vitest";
import { type Millrace, openMillrace } from "../../src/index.js";
import { SelfTuningDepth } from "../../src/readahead/depth.js";
import { makeDataset } from "../support/datasets/index.js";
import { type Gate, gate } from "./fixtures/loader-gate.js";

let mill: Millrace | undefined;
afterEach(async () => {
  await mill?.close();
  vi.restoreAllMocks();
});

const turn = () => new Promise((resolve) => setTimeout(resolve, 2));
/** Turns without anything new, after which nothing is on its way between the engine and the loop. */
const QUIET_TURNS = 20;

/** Lets reads through one after the other, so that each is waited for, until `holds`. */
async function letThrough(origin: Gate, holds: () => boolean): Promise<void> {
  while (!holds()) {
    origin.open();
    origin.hold();
    await turn();
  }
}
/** The engine sends what it has credit for. */
async function letAllThrough(origin: Gate): Promise<void> {
  let turns = 0;
  let reads = -1;
  await letThrough(origin, () => {
    turns = origin.reads.length === reads ? turns + 1 : 0;
    reads = origin.reads.length;
    return turns === QUIET_TURNS;
  });
}
/** Takes the batches that there are, and waits for one more, which does not come by itself. */
async function takeUntilWaiting(batches: AsyncIterator<unknown>): Promise<{ readonly next: Promise<unknown>; came: boolean }> {
  for (;;) {
    const waiting = { next: Promise.resolve<unknown>(undefined), came: false };
    waiting.next = batches.next().finally(() => {
      waiting.came = true;
    });
    waiting.next.catch(() => {});
    for (let turns = 0; turns < QUIET_TURNS && !waiting.came; turns++) await turn();
    if (!waiting.came) return waiting;
  }
}

test("a loop that waited when its run was ended does not make the depth of the next run grow", async () => {
  const stalled = vi.spyOn(SelfTuningDepth.prototype, "stalled");
  // Next to nothing may be ahead, so that every batch has fetches that were held back.
  vi.spyOn(SelfTuningDepth.prototype, "depthBytes", "get").mockReturnValue(1);
  const origin = gate("stalls");
  const made = makeDataset({ format: "tfrecord", samples: 400, shards: 4, bytesPerSample: 20_000 });
  for (const [key, bytes] of made.objects) origin.objects.set(`set/${key}`, bytes);
  mill = await openMillrace({
    engine: "inline",
    stores: { gate: { url: new URL("./fixtures/loader-gate.ts", import.meta.url) } },
    cache: { memory: 0 },
  });
  const dataset = await mill.dataset("gate://stalls/set", { fields: { image: "bytes" } });
  const loader = dataset.loader({ batchSize: 4, lanes: 1, shuffle: { seed: 1, window: "256KiB" } });

  origin.hold();

  const first = loader.epoch(0)[Symbol.asyncIterator]();
  const one = await takeUntilWaiting(first);
  await letThrough(origin, () => one.came);
  const two = await takeUntilWaiting(first);
  expect(stalled).not.toHaveBeenCalled();
  await letThrough(origin, () => two.came);
  expect(stalled).toHaveBeenCalled();
  await takeUntilWaiting(first);
  stalled.mockClear();

  // Ends the first run.
  const second = loader.epoch(1)[Symbol.asyncIterator]();
  const begun = await takeUntilWaiting(second);
  await letThrough(origin, () => begun.came);
  const reads = origin.reads.length;
  // The loop is at work on its first batch, and the engine waits for the bytes of those after it: as many as the first run had made, and more.
  await letAllThrough(origin);
  expect(origin.reads.length).toBeGreaterThan(reads);
  expect(stalled).not.toHaveBeenCalled();
  await loader.close();
});

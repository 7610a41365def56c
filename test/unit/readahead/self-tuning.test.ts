/** The read-ahead on a simulated origin and loop, in virtual time: it settles within the first 5 % of an epoch, and after a change. */
import { expect, test } from "vitest";
import { ReadAheadBudget } from "../../../src/readahead/budget.js";
import { SelfTuningDepth } from "../../../src/readahead/depth.js";
import { type FetchUnit, Scheduler } from "../../../src/readahead/scheduler.js";
import { ManualClock } from "../../support/manual-clock.js";

const MIB = 2 ** 20;
const UNIT_BYTES = 8 * MIB;
const STEPS_A_UNIT = 4;
const UNITS = 1600;

/** Time to the first byte, and then so many bytes a second on each connection; connections do not bound each other. */
const LATENCY_MS = 200;
const CONNECTION_BYTES_A_SECOND = 50e6;
const FETCH_MS = LATENCY_MS + (UNIT_BYTES / CONNECTION_BYTES_A_SECOND) * 1000;

/** Steps, by number, at which a loop with these step times waited. */
async function stalledSteps(stepMs: (step: number) => number): Promise<{ stalls: number[]; depthBytes: number }> {
  const clock = new ManualClock();
  const units = Array.from(
    { length: UNITS },
    (): FetchUnit => ({ bytes: UNIT_BYTES, fetch: () => clock.sleep(FETCH_MS), release: () => {} }),
  );
  const depth = new SelfTuningDepth({ windowBytes: 0, turnover: 0 }, 512 * MIB);
  const scheduler = new Scheduler(units.values(), depth, {
    budget: new ReadAheadBudget({ limitBytes: 16 * 1024 * MIB, usedBytes: () => 0 }),
  });
  const stalls: number[] = [];
  let ended = false;
  const loop = async () => {
    scheduler.pump();
    for (let step = 0; step < UNITS * STEPS_A_UNIT; step++) {
      const unit = units[Math.floor(step / STEPS_A_UNIT)]!;
      const waiting = scheduler.need(unit);
      if (waiting !== undefined) {
        stalls.push(step);
        await waiting;
      }
      await clock.sleep(stepMs(step));
      if (step % STEPS_A_UNIT === STEPS_A_UNIT - 1) scheduler.done(unit);
    }
    ended = true;
  };
  const run = loop();
  while (!ended) await clock.advance(1000);
  await run;
  await scheduler.close();
  return { stalls, depthBytes: depth.depthBytes };
}

const STEPS = UNITS * STEPS_A_UNIT;

test("a loop that takes 400 MiB/s of an origin that takes 370 ms for a unit waits in the first 5 % of the epoch only", async () => {
  const { stalls, depthBytes } = await stalledSteps(() => 5);
  expect(stalls.length).toBeGreaterThan(1);
  expect(stalls.at(-1)).toBeLessThan(STEPS * 0.05);
  // 400 MiB/s × 0.37 s are 148 MiB
  expect(depthBytes).toBe(256 * MIB);
});

test("a loop that becomes 10 × faster in mid-run waits for another 5 % of the epoch at the most", async () => {
  const change = STEPS / 2;
  const { stalls, depthBytes } = await stalledSteps((step) => (step < change ? 50 : 5));
  expect(stalls.filter((step) => step < change)).toEqual([0]); // 64 MiB are enough for 40 MiB/s
  expect(stalls.some((step) => step >= change)).toBe(true);
  expect(stalls.at(-1)).toBeLessThan(change + STEPS * 0.05);
  expect(depthBytes).toBe(256 * MIB);
});

test("a loop that becomes 10 × slower never waits again", async () => {
  const change = STEPS / 2;
  const { stalls } = await stalledSteps((step) => (step < change ? 5 : 50));
  expect(stalls.at(-1)).toBeLessThan(STEPS * 0.05);
});

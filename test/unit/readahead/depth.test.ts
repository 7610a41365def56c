import { expect, test } from "vitest";
import { fixedDepth, SelfTuningDepth } from "../../../src/readahead/depth.js";

const MIB = 2 ** 20;
const tuned = (windowMib: number, turnover: number, mostMib = 512) =>
  new SelfTuningDepth({ windowBytes: windowMib * MIB, turnover }, mostMib * MIB);

test.each([
  [0, 0, 512, 64],
  [256, 0.1, 512, 64],
  [512, 0.1, 512, 128],
  [512, 0.5, 512, 256],
  [256, 1, 512, 256],
  [4096, 0.1, 512, 512],
  [512, 0.5, 100, 100],
])("%i MiB of windows with a turnover of %d in a budget of %i MiB: begins with %i MiB", (windows, turnover, most, depth) => {
  expect(tuned(windows, turnover, most).depthBytes).toBe(depth * MIB);
});

test("doubles at each stall that the present depth caused, up to the budget", () => {
  const rule = tuned(0, 0, 200);
  expect(rule.reason).toBe("began with 25 % of 0 B of windows, within 64 MiB and 200 MiB");
  rule.stalled(12.4, rule.generation);
  expect([rule.depthBytes, rule.reason]).toEqual([128 * MIB, "doubled once; the loop waited 12 ms for bytes that were held back"]);
  rule.stalled(5, rule.generation);
  expect(rule.depthBytes).toBe(200 * MIB);
  rule.stalled(7, rule.generation);
  expect([rule.depthBytes, rule.reason]).toEqual([
    200 * MIB,
    "doubled 2 times; the loop waited 7 ms for bytes that were held back, and there is no budget for more",
  ]);
});

test("a stall that an earlier depth caused changes nothing", () => {
  const rule = tuned(0, 0);
  const before = rule.generation;
  rule.stalled(1, before);
  rule.stalled(1, before);
  expect(rule.depthBytes).toBe(128 * MIB);
});

test("halves under memory pressure, down to 24 MiB, and grows again when the loop waits", () => {
  const rule = tuned(0, 0);
  rule.pressed("memory");
  expect([rule.depthBytes, rule.reason]).toEqual([32 * MIB, "halved once; made smaller since the process is near its memory limit"]);
  for (let i = 0; i < 5; i++) rule.pressed("budget");
  expect([rule.depthBytes, rule.reason]).toEqual([24 * MIB, "halved 2 times; made smaller to share the read-ahead budget"]);
  rule.stalled(3, rule.generation);
  expect(rule.depthBytes).toBe(48 * MIB);
});

test("what the caller gives holds, and neither stalls nor pressure change it", () => {
  const rule = fixedDepth(5 * MIB);
  rule.stalled(10_000, rule.generation);
  rule.pressed("memory");
  expect(rule).toMatchObject({ depthBytes: 5 * MIB, reason: "as given by readAhead" });
});

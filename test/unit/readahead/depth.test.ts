import { expect, test } from "vitest";
import { fixedDepth } from "../../../src/readahead/depth.js";

const MIB = 2 ** 20;

test.each([
  [0, 0, 64],
  [256, 0.1, 64],
  [512, 0.1, 128],
  [512, 0.5, 256],
  [256, 1, 256],
  [4096, 0.1, 512],
])("%i MiB of windows with a turnover of %d: %i MiB ahead", (windows, turnover, depth) => {
  expect(fixedDepth("auto", windows * MIB, turnover).depthBytes).toBe(depth * MIB);
});

test("the reason says what the depth follows from", () => {
  expect(fixedDepth("auto", 512 * MIB, 0.5).reason).toBe("50 % of 512 MiB of windows, from 64 MiB to 512 MiB");
});

test("what the caller gives holds, and a stall does not change it", () => {
  const rule = fixedDepth(5 * MIB, 512 * MIB, 1);
  rule.stalled(10_000);
  expect(rule).toMatchObject({ depthBytes: 5 * MIB, reason: "as given by readAhead" });
});

import { expect, test } from "vitest";
import { fixedDepth } from "../../../src/readahead/depth.js";

const MIB = 2 ** 20;

test.each([
  [0, 64],
  [256 * MIB, 64],
  [512 * MIB, 128],
  [4096 * MIB, 512],
])("of %i bytes of windows, %i MiB ahead", (windows, depth) => {
  const rule = fixedDepth("auto", windows);
  expect(rule.depthBytes).toBe(depth * MIB);
  expect(rule.reason).toContain("a quarter of");
});

test("what the caller gives holds, and a stall does not change it", () => {
  const rule = fixedDepth(5 * MIB, 512 * MIB);
  rule.stalled(10_000);
  expect(rule).toMatchObject({ depthBytes: 5 * MIB, reason: "as given by readAhead" });
});

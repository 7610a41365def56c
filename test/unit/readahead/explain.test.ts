import { expect, test } from "vitest";
import { explain } from "../../../src/readahead/explain.js";

const MIB = 2 ** 20;
const pace = {
  concurrency: 12,
  latencyMs: undefined,
  connectionBytesPerSecond: undefined,
  bytesPerSecond: undefined,
  spanBytes: 16 * MIB,
  slowDowns: 0,
  receivedBytes: 0,
};

test("the depth alone where the origin has no pace", () => {
  expect(explain("as given", undefined)).toBe("as given");
});

test("only what was measured is said of the origin", () => {
  expect(explain("as given", pace)).toBe("as given; origin: up to 12 requests in flight, spans of 16 MiB");
  expect(explain("as given", { ...pace, latencyMs: 28.4, bytesPerSecond: 600 * MIB, slowDowns: 2 })).toBe(
    "as given; origin: up to 12 requests in flight, spans of 16 MiB, 28 ms to the first byte, 600 MiB/s in the last full round, asked to slow down 2 times",
  );
  expect(explain("as given", { ...pace, slowDowns: 1 })).toMatch(/, asked to slow down once$/);
  expect(explain("as given", { ...pace, latencyMs: 0.42 })).toContain("0.4 ms to the first byte");
});

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatBytes, parseBytes } from "../../../src/util/byte-size.js";
import { parseDuration } from "../../../src/util/duration.js";

describe("parseBytes", () => {
  test.each([
    [0, 0],
    [4096, 4096],
    ["17", 17],
    ["17B", 17],
    ["4GiB", 4 * 2 ** 30],
    ["1.5 MB", 1_500_000],
    [" 2 KiB ", 2048],
    ["1KB", 1000],
    ["1TiB", 2 ** 40],
    ["1TB", 1e12],
    ["1GB", 1e9],
    ["0.3 B", 0],
  ])("%j is %i bytes", (given, bytes) => {
    expect(parseBytes(given, "x")).toBe(bytes);
  });

  test.each(["", "GiB", "4gib", "-1", "1e3", "4 G", "1..5MB", "9000000TiB", "4GiB and more"])(
    "%j is refused by the option's name",
    (given) => {
      expect(() => parseBytes(given, "cache.memory")).toThrow(
        expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringContaining(`cache.memory: expected bytes`) }),
      );
    },
  );
  test.each([-1, Number.NaN, Number.POSITIVE_INFINITY])("the number %d is refused", (given) => {
    expect(() => parseBytes(given, "x")).toThrow("x: expected bytes");
  });
  test("a fraction of a byte is cut off", () => expect(parseBytes(1.7, "x")).toBe(1));
});

describe("formatBytes", () => {
  test.each([
    [0, "0 B"],
    [1023, "1023 B"],
    [1024, "1 KiB"],
    [1536, "1.5 KiB"],
    [1.25 * 2 ** 20, "1.25 MiB"],
    [64 * 2 ** 20, "64 MiB"],
    [2 ** 30, "1 GiB"],
    [1.5 * 2 ** 40, "1.5 TiB"],
    [2000 * 2 ** 40, "2000 TiB"],
  ])("%d is %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });
  test("reads back to within a hundredth", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
        expect(Math.abs(parseBytes(formatBytes(bytes), "x") - bytes)).toBeLessThanOrEqual(bytes / 100 + 1);
      }),
    );
  });
});

describe("parseDuration", () => {
  test.each([
    [0, 0],
    [1500, 1500],
    ["250", 250],
    ["250ms", 250],
    ["1.5s", 1500],
    [" 10 m ", 600_000],
    ["2h", 7_200_000],
  ])("%j is %i ms", (given, ms) => {
    expect(parseDuration(given, "x")).toBe(ms);
  });
  test.each(["", "s", "1d", "-1s", "1 minute", -5, Number.NaN])("%j is refused by the option's name", (given) => {
    expect(() => parseDuration(given, "decodeTimeout")).toThrow(
      expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringContaining("decodeTimeout: expected milliseconds") }),
    );
  });
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { compareUtf8 } from "../../../src/util/utf8-order.js";

test("orders strings as their UTF-8 bytes are ordered", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 6 }), fc.string({ unit: "binary", maxLength: 6 }), (a, b) => {
      expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
    }),
    { numRuns: 1000 },
  );
});

test("a pair of surrogates comes after U+E000 to U+FFFF, unlike in UTF-16 order", () => {
  expect(compareUtf8("\u{10000}", "\uffff")).toBeGreaterThan(0);
  expect("\u{10000}" < "\uffff").toBe(true);
  expect(["b", "a/x", "a.txt", "a", ""].sort(compareUtf8)).toEqual(["", "a", "a.txt", "a/x", "b"]);
});

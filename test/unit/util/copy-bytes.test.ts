import { expect, test } from "vitest";
import { copyBytes, copyRange } from "../../../src/util/copy-bytes.js";

const shared = new Uint8Array(new SharedArrayBuffer(5000)).map((_, i) => i % 251);

test.each([0, 1, 32, 33, 1023, 1024, 4000])("%i bytes of a range arrive, and nothing beside them changes", (length) => {
  const target = new Uint8Array(length + 2).fill(0xee);
  copyRange(target, 1, shared, 7, 7 + length);
  expect([...target]).toEqual([0xee, ...shared.slice(7, 7 + length), 0xee]);
  expect(() => copyRange(target, 3, shared, 7, 7 + length)).toThrow(RangeError);
  expect(() => copyBytes(target, 3, shared.subarray(7, 7 + length))).toThrow(RangeError);
});

import fc from "fast-check";
import { expect, it } from "vitest";
import { holdPath, parseHeld } from "../../../src/peers/held-protocol.js";
import { isBlocksPath } from "../../../src/peers/peer-protocol.js";

it("names blocks as a request for their bytes does", () => {
  const path = holdPath("0123456789abcdef0123456789abcdef", 3, 7);
  expect(path).toBe("/v1/held/0123456789abcdef0123456789abcdef/3-7");
  expect(isBlocksPath(path)).toBe(true);
});

it("takes counts for an answer, and nothing else", () => {
  expect(parseHeld('{"before":1,"bytes":2,"more":3}')).toEqual({ before: 1, bytes: 2 });
  for (const text of [
    "",
    "[]",
    "null",
    "{}",
    '{"before":1}',
    '{"before":-1,"bytes":2}',
    '{"before":1,"bytes":1.5}',
    '{"before":"1","bytes":2}',
  ])
    expect(parseHeld(text), text).toBeUndefined();
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json()), (text) => void parseHeld(text)));
});

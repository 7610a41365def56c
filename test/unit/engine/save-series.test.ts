import { describe, expect, it } from "vitest";
import { olderThan, otherForm, seriesOf, shardsOf } from "../../../src/engine/save-series.js";

describe("seriesOf", () => {
  it.each([
    ["run/step-100.safetensors", "run/step-", ".safetensors", 100n],
    ["run-7/step-0100.safetensors.index.json", "run-7/step-", ".safetensors.index.json", 100n],
    ["v2-step9-final.safetensors", "v2-step", "-final.safetensors", 9n],
    ["m.12.index.json", "m.", ".index.json", 12n],
    ["step-123456789012345678901", "step-", "", 123456789012345678901n],
    ["a.b5", "a.b", "", 5n],
  ])("%s", (path, prefix, suffix, number) => expect(seriesOf(path)).toEqual({ prefix, suffix, number }));

  it.each(["run-7/last.safetensors", "x", "", "7/"])("%s has none", (path) => expect(seriesOf(path)).toBeUndefined());
});

describe("olderThan", () => {
  const paths = ["s-1.st", "s-2.st", "s-10.st", "s-9.st", "s-x.st", "t-3.st", "s-3.bin", "sub/s-4.st", "s-5-of-6.st", "s-.st", "xs-1.st"];
  it.each([
    ["s-10.st", 1, ["s-9.st", "s-2.st", "s-1.st"]],
    ["s-10.st", 3, ["s-1.st"]],
    ["s-10.st", 9, []],
    // Newer ones stay, and are not counted.
    ["s-2.st", 1, ["s-1.st"]],
    ["s-0.st", 1, []],
    // One that is written with other zeros is the same number.
    ["s-010.st", 1, ["s-9.st", "s-2.st", "s-1.st"]],
  ])("%s, %d stay", (newest, keep, gone) => expect(olderThan(seriesOf(newest)!, keep, paths)).toEqual(gone));
});

describe("otherForm", () => {
  it.each([
    ["f/m.safetensors", "f/m.safetensors.index.json"],
    ["f/m.safetensors.index.json", "f/m.safetensors"],
    ["f/m", undefined],
    ["f/m.index.json", undefined],
    ["f/m.bin.index.json", undefined],
  ])("%s: %s", (path, other) => expect(otherForm(path)).toBe(other));
});

describe("shardsOf", () => {
  const json = (weights: unknown) => Buffer.from(JSON.stringify({ weight_map: weights }));

  it("are the files beside the index that have its name and a number", () => {
    const weights = {
      a: "m-1-00001-of-00002.safetensors",
      b: "m-1-0123abcd-00002-of-00002.safetensors",
      c: "m-1-00001-of-00002.safetensors",
      d: "other.safetensors",
      e: "../m-1-00001-of-00002.safetensors",
      f: "m-1-x-00001-of-00002.safetensors",
      g: 5,
      h: "m-10-00001-of-00002.safetensors",
      i: "m-1-00001-of-00002.safetensors.bak",
    };
    const own = ["f/m-1-00001-of-00002.safetensors", "f/m-1-0123abcd-00002-of-00002.safetensors"];
    expect(shardsOf("f/m-1.safetensors.index.json", json(weights))).toEqual(own);
    expect(shardsOf("f/m-1.index.json", json(weights))).toEqual(own);
  });

  it.each(["", "{", "null", "5", '{"weight_map":null}', '{"weight_map":["a"]}'])("none in %j", (text) =>
    expect(shardsOf("f/m.index.json", Buffer.from(text))).toEqual([]),
  );
});

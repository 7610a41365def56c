import { describe, expect, it } from "vitest";
import { decodeExample, exampleKinds } from "../../../src/formats/tf-example.js";
import { WireError } from "../../../src/formats/wire.js";
import { encodeExample } from "../../support/datasets/index.js";

const INTS = [0n, 1n, -1n, 127n, 128n, 300n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 35n + 5n, 2n ** 63n - 1n, -(2n ** 63n), -42n];

/** Feature `a` around the bytes of its Feature message. */
function featureOf(feature: readonly number[]): Uint8Array {
  const entry = [0x0a, 1, 0x61, 0x12, feature.length, ...feature];
  const features = [0x0a, entry.length, ...entry];
  return Uint8Array.of(0x0a, features.length, ...features);
}

describe.each([true, false])("lists, packed: %s", (packed) => {
  it("decodes every int64", () => {
    expect(decodeExample(encodeExample({ a: { ints: INTS } }, packed), undefined).a).toEqual(BigInt64Array.from(INTS));
  });
  it("decodes floats from unaligned bytes", () => {
    const floats = Float32Array.of(1.5, -0, Number.NaN, Number.POSITIVE_INFINITY, 1e-40);
    for (const name of ["a", "ab", "abc", "abcd"])
      expect(decodeExample(encodeExample({ [name]: { floats: [...floats] } }, packed), undefined)[name]).toEqual(floats);
  });
  it("keeps empty lists of numbers", () => {
    const sample = decodeExample(encodeExample({ i: { ints: [] }, f: { floats: [] }, b: { bytes: [] } }, packed), undefined);
    expect(sample).toEqual({ i: new BigInt64Array(0), f: new Float32Array(0), b: [] });
  });
});

it("fills the same memory again for lists of one length, and reads others right", () => {
  const wanted = new Set(["i", "f"]);
  const read = (ints: bigint[], floats: number[]) => decodeExample(encodeExample({ i: { ints }, f: { floats } }), wanted);
  const first = read([1n, -2n], [0.5, 2]);
  const again = read([3n, 4n], [1.5, 3]);
  expect(again.i).toBe(first.i);
  expect(again.f).toBe(first.f);
  expect(again).toEqual({ i: BigInt64Array.of(3n, 4n), f: Float32Array.of(1.5, 3) });
  for (const length of [1, 0, 9, 3, 40]) {
    const ints = Array.from({ length }, (_, k) => BigInt(k - 5));
    const floats = Array.from({ length }, (_, k) => k / 4);
    expect(read(ints, floats)).toEqual({ i: BigInt64Array.from(ints), f: Float32Array.from(floats) });
  }
});

describe("bytes lists", () => {
  it("gives one value as a view and several as a list of views", () => {
    const bytes = encodeExample({
      one: { bytes: [Buffer.from("x")] },
      two: { bytes: [Buffer.from("y"), Buffer.alloc(0), Buffer.from("z")] },
    });
    const { one, two } = decodeExample(bytes, undefined) as { one: Uint8Array; two: Uint8Array[] };
    expect(Buffer.from(one).toString()).toBe("x");
    expect(one.buffer).toBe(bytes.buffer);
    expect(two.map((value) => Buffer.from(value).toString())).toEqual(["y", "", "z"]);
  });
});

describe("names", () => {
  it("reads wanted features only, by their UTF-8 bytes", () => {
    const bytes = encodeExample({ größe: { ints: [1] }, b: { ints: [2] }, bb: { ints: [3] } });
    expect(decodeExample(bytes, new Set(["größe", "bb", "x"]))).toEqual({ größe: BigInt64Array.of(1n), bb: BigInt64Array.of(3n) });
  });
  it("does not even look into a feature that nobody wants", () => {
    const bad = featureOf([0x1a, 2, 0x0a, 9]);
    expect(() => decodeExample(bad, undefined)).toThrow(WireError);
    expect(decodeExample(bad, new Set(["b"]))).toEqual({});
  });
  it("takes a feature called __proto__ for a feature", () => {
    const sample = decodeExample(encodeExample({ ["__proto__"]: { ints: [1] } }), undefined);
    expect(Object.keys(sample)).toEqual(["__proto__"]);
  });
});

describe("other writers", () => {
  it("passes over unknown fields of every wire type, at each level", () => {
    const unknown = [0x40, 0x96, 0x01, 0x41, 1, 2, 3, 4, 5, 6, 7, 8, 0x42, 2, 9, 9, 0x45, 1, 2, 3, 4];
    const list = [...unknown, 0x08, 5, ...unknown];
    const feature = [...unknown, 0x1a, list.length, ...list, ...unknown];
    const entry = [...unknown, 0x12, feature.length, ...feature, 0x0a, 1, 0x61];
    const features = [...unknown, 0x0a, 0x80 | (entry.length & 0x7f), entry.length >> 7, ...entry];
    const bytes = Uint8Array.of(...unknown, 0x0a, 0x80 | (features.length & 0x7f), features.length >> 7, ...features, ...unknown);
    expect(decodeExample(bytes, undefined)).toEqual({ a: BigInt64Array.of(5n) });
    expect(exampleKinds(bytes)).toEqual(new Map([["a", "int64"]]));
  });
  it("mixes packed and single values of one list", () => {
    expect(decodeExample(featureOf([0x1a, 8, 0x08, 1, 0x0a, 2, 2, 3, 0x08, 4]), undefined).a).toEqual(BigInt64Array.of(1n, 2n, 3n, 4n));
  });
  it("leaves out a feature without a list, and has no kind for it", () => {
    expect(decodeExample(featureOf([]), undefined)).toEqual({});
    expect(exampleKinds(featureOf([]))).toEqual(new Map());
  });
  it("lets the last list of a feature hold", () => {
    expect(decodeExample(featureOf([0x0a, 0, 0x1a, 2, 0x08, 1]), undefined).a).toEqual(BigInt64Array.of(1n));
  });
});

describe("what is no Example", () => {
  it.each([
    ["a length past the end", [0x0a, 5, 1]],
    ["a varint without end", Array(12).fill(0xff)],
    ["a length beyond 2^32", [0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f]],
    ["field number 0", [0x02, 0]],
    ["groups", [0x0b, 0x0c]],
    ["a cut fixed64", [0x11, 1, 2]],
    ["a cut fixed32", [0x15, 1, 2]],
    ["a cut tag", [0x8a]],
  ])("%s", (_, bytes) => {
    expect(() => decodeExample(Uint8Array.from(bytes), undefined)).toThrow(WireError);
  });
  it.each([
    ["an int64 cut short", [0x1a, 3, 0x0a, 1, 0x80]],
    ["an int64 of 11 bytes", [0x1a, 13, 0x0a, 11, ...Array(10).fill(0x80), 1]],
    ["a single int64 of 11 bytes", [0x1a, 12, 0x08, ...Array(10).fill(0x80), 1]],
    ["floats cut short", [0x12, 5, 0x0a, 3, 1, 2, 3]],
    ["field 0 in a list", [0x1a, 2, 0x00, 1]],
  ])("%s", (_, feature) => {
    expect(() => decodeExample(featureOf(feature), undefined)).toThrow(WireError);
  });
  it("an inner length may not leave its message", () => {
    // The feature says 2 bytes, its list 4: they are there, but they are not its own.
    const bytes = Uint8Array.of(0x0a, 13, 0x0a, 7, 0x0a, 1, 0x61, 0x12, 2, 0x1a, 4, 0x08, 1, 0x08, 1);
    expect(() => decodeExample(bytes, undefined)).toThrow(WireError);
  });
});

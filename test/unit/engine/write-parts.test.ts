import { expect, test } from "vitest";
import { checkWriteData, writeParts } from "../../../src/engine/write-parts.js";

const MIB = 2 ** 20;
async function lengths(data: Uint8Array | AsyncIterable<Uint8Array>): Promise<[number, number][]> {
  const all: [number, number][] = [];
  for await (const part of writeParts(data)) all.push([part.byteLength, part.buffer.byteLength]);
  return all;
}
async function* repeat(part: Uint8Array, times: number) {
  for (let i = 0; i < times; i++) yield part;
}

test("a view of a large buffer becomes parts of memory of their own, no larger than need be", async () => {
  const memory = new Uint8Array(40 * MIB);
  expect(await lengths(memory.subarray(5, 5 + 100))).toEqual([[100, 100]]);
  expect((await lengths(memory.subarray(0, 17 * MIB))).map(([length]) => length)).toEqual([8 * MIB, 8 * MIB, MIB]);
  expect(memory.buffer.byteLength).toBe(40 * MIB);
});

test("parts of an iterable are gathered to few, in order", async () => {
  expect((await lengths(repeat(new Uint8Array(1000), 20_000))).map(([length]) => length)).toEqual([
    8 * MIB,
    8 * MIB,
    20_000_000 - 16 * MIB,
  ]);
  expect((await lengths(repeat(new Uint8Array(9 * MIB), 2))).map(([length]) => length)).toEqual([8 * MIB, 8 * MIB, 2 * MIB]);
  let next = 0;
  const count = async function* () {
    while (next < 10) yield Uint8Array.of(next++);
  };
  for await (const part of writeParts(count())) expect([...part]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("no bytes, no parts", async () => {
  expect(await lengths(new Uint8Array(0))).toEqual([]);
  expect(await lengths(repeat(new Uint8Array(0), 3))).toEqual([]);
});

test("what is no bytes is refused by name", async () => {
  for (const data of [undefined, null, 5, {}, ["text"], new Date()]) expect(() => checkWriteData(data)).toThrow(/data: expected/);
  for (const data of ["", "text", Buffer.alloc(1), repeat(new Uint8Array(1), 1)]) checkWriteData(data);
  await expect(lengths(repeat("text" as never, 1))).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: /got string/ });
});

import { describe, expect, test } from "vitest";
import { FirstBytes } from "../../../src/storage/first-bytes.js";

function of(times: readonly number[]): number {
  const firstBytes = new FirstBytes();
  for (const ms of times) firstBytes.add(ms);
  return firstBytes.lateAfterMs;
}
const repeat = (count: number, ms: (i: number) => number) => Array.from({ length: count }, (_, i) => ms(i));

describe("lateAfterMs", () => {
  test("is Infinity before 32 measurements", () => {
    expect(of(repeat(31, () => 30))).toBe(Number.POSITIVE_INFINITY);
    expect(of(repeat(32, () => 30))).toBe(60);
  });
  test("is the time that 98 % keep to, in whatever order they came", () => {
    const times = repeat(256, (i) => 100 + ((i * 37) % 256));
    expect(of(times.map((ms) => ms / 2))).toBe((2 * (100 + 128)) / 2);
    expect(of(times.map((ms) => (ms > 340 ? ms * 2 : ms)))).toBe(2 * (100 + 250));
  });
  test("is two medians at least, since another request takes one itself", () => expect(of(repeat(64, (i) => 100 + (i % 3)))).toBe(202));
  test("is ten medians at most, however many are stuck", () => expect(of(repeat(100, (i) => (i % 10 === 0 ? 5000 : 30)))).toBe(300));
  test("is 50 ms at least", () => expect(of(repeat(64, () => 0.2))).toBe(50));
  test("is of the latest 256 only", () => {
    expect(of([...repeat(1024, () => 500), ...repeat(256, () => 40)])).toBe(80);
  });
});

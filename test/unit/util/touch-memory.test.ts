import { existsSync } from "node:fs";
import { readdir, readlink } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import { TouchedAhead } from "../../../src/util/touch-memory.js";

const stretches = (count: number) => Array.from({ length: count }, () => new Uint8Array(100_000).fill(7));
const zeroed = (all: readonly Uint8Array[]) => all.map((bytes) => bytes.every((byte) => byte === 0));

describe.runIf(existsSync("/dev/zero"))("TouchedAhead", () => {
  test("a stretch is touched before it is ready, so many ahead; the first two are not touched", async () => {
    const all = stretches(8);
    const touched = new TouchedAhead(all, 3);
    for (let i = 0; i < 3; i++) await touched.ready(i);
    expect(zeroed(all.slice(0, 3))).toEqual([false, false, true]);
    all[2]!.fill(1);
    for (let i = 3; i < 8; i++) await touched.ready(i);
    await touched.close();
    expect(zeroed(all)).toEqual([false, false, false, true, true, true, true, true]);
  });

  test("after close nothing is written, and the device is not held", async () => {
    const all = stretches(40);
    const touched = new TouchedAhead(all, 20);
    for (let i = 0; i < 20; i++) void touched.ready(i);
    await touched.close();
    const before = zeroed(all);
    expect(before.slice(20)).not.toContain(true);
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(zeroed(all)).toEqual(before);
    if (existsSync("/proc/self/fd")) {
      const open = await Promise.all((await readdir("/proc/self/fd")).map((fd) => readlink(`/proc/self/fd/${fd}`).catch(() => "")));
      expect(open).not.toContain("/dev/zero");
    }
  });

  test("with nothing to touch it waits for nothing", async () => {
    const touched = new TouchedAhead([], 16);
    await touched.ready(3);
    await touched.close();
  });
});

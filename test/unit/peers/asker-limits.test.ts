import { describe, expect, it } from "vitest";
import { AskerLimits, servingBytes } from "../../../src/peers/asker-limits.js";
import { ManualClock } from "../../support/manual-clock.js";

describe("what askers may have under way", () => {
  it("is so many requests each", () => {
    const limits = new AskerLimits({ perAsker: 2, perSecond: 1000, bytes: 1000 }, new ManualClock());
    const leave = limits.enter("a", 1);
    expect(limits.enter("a", 1)).toBeDefined();
    expect(limits.enter("a", 1)).toBeUndefined();
    expect(limits.enter("b", 1)).toBeDefined();
    expect(limits.requests).toBe(3);
    leave!();
    expect(limits.enter("a", 1)).toBeDefined();
  });

  it("is so many bytes of all, and one request of any length", () => {
    const limits = new AskerLimits({ perAsker: 9, perSecond: 1000, bytes: 100 }, new ManualClock());
    const leave = limits.enter("a", 500);
    expect(limits.enter("b", 1)).toBeUndefined();
    leave!();
    expect(limits.enter("b", 60)).toBeDefined();
    expect(limits.enter("a", 41)).toBeUndefined();
    expect(limits.enter("a", 40)).toBeDefined();
  });

  it("is so many requests a second each", async () => {
    const clock = new ManualClock();
    const limits = new AskerLimits({ perAsker: 1000, perSecond: 10, bytes: 1e9 }, clock);
    const taken = () => Array.from({ length: 20 }, () => limits.enter("a", 1)).filter((leave) => leave !== undefined).length;
    expect(taken()).toBe(10);
    expect(limits.enter("b", 1)).toBeDefined();
    await clock.advance(500);
    expect(taken()).toBe(5);
  });

  it("forgets askers that rest when there are too many", () => {
    const limits = new AskerLimits({ perAsker: 1, perSecond: 1, bytes: 1e9 }, new ManualClock());
    limits.enter("busy", 1);
    for (let i = 0; i < 9000; i++) limits.enter(`asker ${i}`, 1)!();
    // Resting, it was forgotten with its rate; busy, it was not.
    expect(limits.enter("asker 0", 1)).toBeDefined();
    expect(limits.enter("busy", 1)).toBeUndefined();
  });
});

it("answers under way take a sixteenth of the memory, within bounds", () => {
  const mib = 2 ** 20;
  expect([256, 1024, 2048, 8192, 1e6].map((memory) => servingBytes(memory * mib) / mib)).toEqual([64, 64, 128, 512, 512]);
});

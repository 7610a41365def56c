import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { Patience } from "../../../src/peers/patience.js";
import { systemAlarmClock } from "../../../src/util/alarm-clock.js";
import { ManualClock } from "../../support/manual-clock.js";

const WAITS = { silenceMs: 850, answerMs: 5_000 };

describe("patience", () => {
  it("ends after so much silence, and begins anew with each sign of life", async () => {
    const clock = new ManualClock();
    const patience = new Patience(clock, WAITS, { signs: 0 }, undefined);
    await clock.advance(850 - 100);
    patience.heard();
    // A sign is seen at the end of a turn.
    await clock.advance(50);
    await clock.advance(849);
    expect(patience.signal.aborted).toBe(false);
    await clock.advance(1);
    expect([patience.signal.aborted, patience.late]).toEqual([true, "silent"]);
    patience.end();
    expect(clock.pending).toBe(0);
  });

  it("takes what another request hears for a sign of the same peer, and of no other", async () => {
    const clock = new ManualClock();
    const peer = { signs: 0 };
    const [waiting, served, elsewhere] = [peer, peer, { signs: 0 }].map((one) => new Patience(clock, WAITS, one, undefined));
    for (let i = 0; i < 3; i++) {
      served!.heard();
      await clock.advance(800);
    }
    expect([waiting!.late, served!.late, elsewhere!.late]).toEqual([undefined, undefined, "silent"]);
    await clock.advance(150);
    expect([waiting!.late, served!.late]).toEqual(["silent", "silent"]);
    for (const one of [waiting, served, elsewhere]) one!.end();
    expect(clock.pending).toBe(0);
  });

  it("ends for a request of which nothing is heard in ten times as long, whatever its peer says to others", async () => {
    const clock = new ManualClock();
    const peer = { signs: 0 };
    const LONG = { ...WAITS, answerMs: 60_000 };
    const [lost, served] = [new Patience(clock, LONG, peer, undefined), new Patience(clock, LONG, peer, undefined)];
    for (let i = 0; i < 85; i++) {
      expect(lost.late).toBeUndefined();
      served.heard();
      await clock.advance(100);
    }
    expect([lost.late, served.late]).toEqual(["silent", undefined]);
    lost.end();
    served.end();
  });

  it("ends when what was asked does not come, whatever is heard", async () => {
    const clock = new ManualClock();
    const patience = new Patience(clock, WAITS, { signs: 0 }, undefined);
    for (let i = 0; i < 49; i++) {
      await clock.advance(100);
      patience.heard();
    }
    expect(patience.late).toBeUndefined();
    await clock.advance(100);
    expect(clock.now()).toBe(5_000);
    expect(patience.late).toBe("long");
    patience.end();
  });

  it("waits no more once the answer has begun", async () => {
    const clock = new ManualClock();
    const patience = new Patience(clock, WAITS, { signs: 0 }, undefined);
    patience.calm();
    expect(clock.pending).toBe(0);
    await clock.advance(10_000);
    expect(patience.late).toBeUndefined();
  });

  it("takes the caller's signal, also one that has fired", async () => {
    const clock = new ManualClock();
    const caller = new AbortController();
    const patience = new Patience(clock, WAITS, { signs: 0 }, caller.signal);
    caller.abort(new Error("enough"));
    const late = new Patience(clock, WAITS, { signs: 0 }, caller.signal);
    expect([patience, late].map(({ signal, late }) => [signal.reason.message, late])).toEqual([
      ["enough", undefined],
      ["enough", undefined],
    ]);
    patience.end();
    late.end();
    expect(clock.pending).toBe(0);
  });

  it("does not count the time in which this process itself stood still", async () => {
    const patience = new Patience(systemAlarmClock, { silenceMs: 400, answerMs: 1_100 }, { signs: 0 }, undefined);
    const until = performance.now() + 1_300;
    while (performance.now() < until);
    await sleep(20);
    expect(patience.late).toBeUndefined();
    patience.end();
  });
});

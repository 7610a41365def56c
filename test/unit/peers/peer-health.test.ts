import { beforeEach, describe, expect, it } from "vitest";
import { PeerHealth, silenceMs } from "../../../src/peers/peer-health.js";
import { ManualClock } from "../../support/manual-clock.js";

let clock: ManualClock;
let health: PeerHealth;
beforeEach(() => {
  clock = new ManualClock();
  // Jitter at its least: half of each wait.
  health = new PeerHealth(clock, () => 0);
});

function fail(times: number): void {
  for (let i = 0; i < times; i++) health.failed("slow");
}

describe("the deadline", () => {
  it("is what the origin takes, within bounds", () => {
    expect([undefined, 0, 1200, 1300, 5000].map(silenceMs)).toEqual([1500, 1200, 1200, 1300, 1500]);
  });
});

describe("the circuit", () => {
  it("opens with the third failure in a row", () => {
    fail(2);
    health.answered();
    fail(2);
    expect(health.state).toBe("closed");
    fail(1);
    expect(health).toMatchObject({ state: "open", reason: "slow" });
  });

  it("lets one probe through after a while, and closes when it is answered", async () => {
    fail(3);
    expect(health.takeProbe()).toBe(false);
    await clock.advance(124);
    expect(health.takeProbe()).toBe(false);
    await clock.advance(1);
    expect([health.takeProbe(), health.takeProbe(), health.state]).toEqual([true, false, "half-open"]);
    // An answer to a request of before says nothing of now.
    health.answered();
    expect(health.state).toBe("half-open");
    health.probed();
    expect(health.state).toBe("closed");
    fail(2);
    expect(health.state).toBe("closed");
  });

  it("waits twice as long after each probe that fails, up to a bound", async () => {
    fail(3);
    for (const wait of [125, 250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000]) {
      await clock.advance(wait - 1);
      expect(health.takeProbe()).toBe(false);
      await clock.advance(1);
      expect(health.takeProbe()).toBe(true);
      health.failed("unreachable");
      expect(health.state).toBe("open");
    }
  });

  it("is not moved by the other requests that were under way", async () => {
    fail(8);
    await clock.advance(125);
    expect(health.takeProbe()).toBe(true);
  });

  it("probes again where a probe came to nothing", async () => {
    fail(3);
    await clock.advance(125);
    expect(health.takeProbe()).toBe(true);
    health.probeAborted();
    expect(health.takeProbe()).toBe(true);
  });

  it.each([
    ["corrupt", 300_000],
    ["options", 10_000],
    ["refused", 10_000],
  ] as const)("opens at once for what is %s, for %i ms", async (reason, ms) => {
    health.failed(reason);
    expect(health).toMatchObject({ state: "open", reason });
    await clock.advance(ms - 1);
    expect(health.takeProbe()).toBe(false);
    await clock.advance(1);
    expect(health.takeProbe()).toBe(true);
  });

  it("distrusts a peer that is known to be slow too", async () => {
    fail(3);
    health.failed("corrupt");
    await clock.advance(299_999);
    expect([health.reason, health.takeProbe()]).toEqual(["corrupt", false]);
  });

  it("spreads probes by its random numbers", async () => {
    const late = new PeerHealth(clock, () => 0.999);
    for (let i = 0; i < 3; i++) late.failed("slow");
    await clock.advance(249);
    expect(late.takeProbe()).toBe(false);
    await clock.advance(1);
    expect(late.takeProbe()).toBe(true);
  });
});

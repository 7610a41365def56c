import { describe, expect, it } from "vitest";
import { byOwner, OwnersLoad } from "../../../src/engine/prefetch-owners.js";
import type { Member } from "../../../src/peers/member.js";
import { PeerFault } from "../../../src/peers/peer-answers.js";
import type { FallbackReason } from "../../../src/peers/peer-counters.js";
import { deferred } from "../../../src/util/deferred.js";
import { ManualClock } from "../../support/manual-clock.js";
import { FakeStore } from "../cache/fake-store.js";

const MIB = 2 ** 20;
const GROUP = 8 * MIB;
const OBJECT = new FakeStore().object("o", 40 * MIB);
const OTHER: Member = { id: "b", weight: 1, labels: {}, url: "http://b" };
/** Every second group is the other's. */
const peers = { ownerOf: (_object: unknown, at: number) => (Math.floor(at / GROUP) % 2 === 1 ? OTHER : undefined) };

describe("ranges by owner", () => {
  it("are as they were without peers", () => {
    const ranges = [{ begin: 3, end: 20 * MIB }];
    expect(byOwner(OBJECT, ranges, undefined)).toEqual({ own: ranges, away: [] });
  });

  it("are cut at groups", () => {
    const { own, away } = byOwner(
      OBJECT,
      [
        { begin: 3, end: 17 * MIB },
        { begin: 30 * MIB, end: 30 * MIB + 1 },
      ],
      peers,
    );
    expect(own).toEqual([
      { begin: 3, end: GROUP },
      { begin: 2 * GROUP, end: 17 * MIB },
    ]);
    expect(away).toEqual([
      { begin: GROUP, end: 2 * GROUP, owner: OTHER },
      { begin: 30 * MIB, end: 30 * MIB + 1, owner: OTHER },
    ]);
  });

  it("of an empty object are one", () => {
    expect(byOwner(OBJECT, [{ begin: 0, end: 0 }], peers)).toEqual({ own: [{ begin: 0, end: 0 }], away: [] });
  });
});

describe("an owner", () => {
  const part = { begin: GROUP, end: 2 * GROUP, owner: OTHER };
  const signal = new AbortController().signal;
  const failing = (reason: FallbackReason, times: number) => {
    let asked = 0;
    const hold = async () => {
      if (asked++ < times) throw new PeerFault(reason, "no");
      return { before: 0, bytes: GROUP };
    };
    return { hold, asked: () => asked };
  };

  it("that is busy is asked again, a second later, six times", async () => {
    const clock = new ManualClock(true);
    const { hold, asked } = failing("busy", 5);
    expect(await new OwnersLoad({ hold }, 5, clock).load(OBJECT, part, signal)).toEqual({ before: 0, bytes: GROUP });
    expect([asked(), clock.sleeps]).toEqual([6, Array(5).fill(1_000)]);
    const never = failing("busy", 100);
    await expect(new OwnersLoad(never, 5, clock).load(OBJECT, part, signal)).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect([never.asked(), clock.sleeps]).toEqual([6, Array(10).fill(1_000)]);
  });

  it("that fails otherwise is asked once, and the message names it", async () => {
    const { hold, asked } = failing("unreachable", 100);
    await expect(new OwnersLoad({ hold }, 5).load(OBJECT, part, signal)).rejects.toThrow(
      "the node b (http://b) did not load what it owns of it: no",
    );
    expect(asked()).toBe(1);
  });

  it("has four parts under way at most; another does not wait for it", async () => {
    const gate = deferred<void>();
    const begun: string[] = [];
    const load = new OwnersLoad({ hold: () => Promise.reject(new Error("unused")) }, 5);
    const other = { ...part, owner: { ...OTHER, id: "c" } };
    const all = [part, part, part, part, part, other].map((one) =>
      load.inTurn(one, async () => {
        begun.push(one.owner.id);
        await gate.promise;
      }),
    );
    await new Promise(setImmediate);
    expect(begun).toEqual(["b", "b", "b", "b", "c"]);
    gate.resolve();
    await Promise.all(all);
    expect(begun).toHaveLength(6);
  });
});

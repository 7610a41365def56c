import { afterEach, describe, expect, it, vi } from "vitest";
import type { Member } from "../../../src/peers/member.js";
import { Membership } from "../../../src/peers/membership.js";
import { ManualClock } from "../../support/manual-clock.js";
import { identity } from "../../support/peers/nodes.js";

let membership: Membership | undefined;
afterEach(() => membership?.close());

/** A node and what it finds at one address. */
async function found() {
  const clock = new ManualClock();
  const at = { id: "other", answers: true };
  const health = { unreachableSince: undefined as number | undefined, mistaken: false };
  const changed = vi.fn((_members: readonly Member[]) => {});
  const asked = vi.fn(async () => {
    if (!at.answers) throw new Error("nobody there");
    return identity(at.id);
  });
  membership = new Membership({
    self: { ...identity("self"), url: "http://127.0.0.1:1" },
    discovery: { members: () => [{ host: "127.0.0.1", port: 2 }], onChange: () => () => {} },
    scheme: "http",
    identify: asked,
    unreachableSince: () => health.unreachableSince,
    mistaken: () => health.mistaken,
    changed,
    clock,
  });
  await membership.ready;
  const members = () => changed.mock.lastCall![0].map(({ id }) => id);
  return { clock, at, health, changed, asked, members, membership };
}

describe("Membership", () => {
  it("lists who answers, and asks members no more", async () => {
    const { clock, asked, changed, members } = await found();
    expect(members()).toEqual(["other", "self"]);
    await clock.advance(5_000);
    expect(asked).toHaveBeenCalledOnce();
    expect(changed).toHaveBeenCalledOnce();
  });

  it("drops who cannot be reached for 10 s, and takes it back when it answers", async () => {
    const { clock, at, health, members, membership } = await found();
    at.answers = false;
    health.unreachableSince = clock.now();
    await clock.advance(9_000);
    expect(members()).toEqual(["other", "self"]);
    await clock.advance(1_000);
    expect(members()).toEqual(["self"]);
    expect(membership.strangers()).toMatchObject([{ url: "http://127.0.0.1:2", reason: "nobody there" }]);
    at.answers = true;
    health.unreachableSince = undefined;
    await clock.advance(1_000);
    expect(members()).toEqual(["other", "self"]);
  });

  it("takes in, within a second, who answers in a member's place", async () => {
    const { clock, at, health, members, membership } = await found();
    at.id = "another";
    await clock.advance(1_000);
    expect(members()).toEqual(["other", "self"]);
    health.mistaken = true;
    await clock.advance(1_000);
    expect(members()).toEqual(["another", "self"]);
    expect(membership.strangers()).toEqual([]);
  });
});

import { describe, expect, it } from "vitest";
import { GROUP_BYTES, groupCount, groupKey, groupOf } from "../../../src/peers/group.js";
import type { Member } from "../../../src/peers/member.js";
import { Owners } from "../../../src/peers/rendezvous.js";

const member = (id: string, weight = 1): Member => ({ id, weight, labels: {}, url: `http://${id}:7070` });
const cluster = (count: number, weight: (i: number) => number = () => 1) =>
  Array.from({ length: count }, (_, i) => member(`node-${i}`, weight(i)));
const objectId = (i: number) => i.toString(16).padStart(32, "0");

/** Groups of each member, over so many objects of so many groups. */
function counts(owners: Owners, objects: number, groups: number): Map<string, number> {
  const owned = new Map(owners.members.map(({ id }) => [id, 0]));
  for (let object = 0; object < objects; object++)
    for (let group = 0; group < groups; group++) {
      const { id } = owners.owner(objectId(object), group, groups * GROUP_BYTES)!;
      owned.set(id, owned.get(id)! + 1);
    }
  return owned;
}

/** Variance ÷ mean of what is counted for the members: 1 where each group is thrown for itself. */
function dispersion(owned: ReadonlyMap<string, number>): number {
  const values = [...owned.values()];
  const mean = values.reduce((sum, count) => sum + count, 0) / values.length;
  return values.reduce((sum, count) => sum + (count - mean) ** 2, 0) / (values.length - 1) / mean;
}

describe("groups", () => {
  it("are 8 MiB, aligned, the last one short", () => {
    expect([0, GROUP_BYTES - 1, GROUP_BYTES, 3 * GROUP_BYTES + 5].map(groupOf)).toEqual([0, 0, 1, 3]);
    expect([0, 1, GROUP_BYTES, GROUP_BYTES + 1].map(groupCount)).toEqual([0, 1, 1, 2]);
    expect(groupKey("ab", 3)).toBe("ab/3");
  });
});

describe("Owners", () => {
  it("name the same owners in every release: nodes of two releases agree", () => {
    const owners = new Owners([member("a"), member("b", 2), member("c"), member("d", 0.5)]);
    const ranked = [0, 1, 2, 149, 150, 299].map((group) =>
      owners
        .ranked(objectId(7), group, 300 * GROUP_BYTES)
        .map(({ id }) => id)
        .join(""),
    );
    expect(ranked).toEqual(["db", "ad", "ba", "cd", "bd", "ac"]);
  });

  it("rank nobody for a group that the object has not, or where nobody has a weight", () => {
    const owners = new Owners(cluster(3));
    expect(owners.ranked(objectId(1), 2, 2 * GROUP_BYTES)).toEqual([]);
    expect(owners.owner(objectId(1), 0, 0)).toBeUndefined();
    expect(owners.owner(objectId(1), -1, GROUP_BYTES)).toBeUndefined();
    for (const nobody of [[], [member("a", 0)]]) expect(new Owners(nobody).ranked(objectId(1), 0, GROUP_BYTES)).toEqual([]);
  });

  it("refuse two members of one id, and weights that are none", () => {
    const refusal = (list: readonly Member[]) => expect(() => new Owners(list));
    refusal([member("a"), member("b"), member("a", 2)]).toThrow(
      expect.objectContaining({ code: "MILLRACE_CONFIG", message: 'peers.discover: two members have the id "a"; give each node its own' }),
    );
    for (const weight of [-1, Number.NaN, Number.POSITIVE_INFINITY, 1e-9, 1e10])
      refusal([member("a", weight)]).toThrow(/^peers\.weight: expected 0, or .* of "a"$/);
    refusal(cluster(2 ** 16 + 1)).toThrow(/65537 members/);
  });

  it("deal shares by weight, within four deviations", () => {
    const weights = [0, 1, 2, 4, 0.5];
    const owned = counts(new Owners(cluster(weights.length, (i) => weights[i]!)), 400, 31);
    const groups = 400 * 31;
    for (const [i, weight] of weights.entries()) {
      const share = weight / 7.5;
      const deviation = Math.sqrt(groups * share * (1 - share));
      expect(Math.abs(owned.get(`node-${i}`)! - groups * share)).toBeLessThanOrEqual(4 * deviation);
    }
    expect(owned.get("node-0")).toBe(0);
  });

  it("spread groups more evenly than dice, the more so the longer the objects", () => {
    const owners = new Owners(cluster(64));
    const [single, shards, long] = [counts(owners, 40_000, 1), counts(owners, 1290, 31), counts(owners, 8, 5000)].map(dispersion);
    // 64 counts give a dispersion within about ± 0.5 of its mean: 1, 0.63 and 0.52.
    expect(single).toBeGreaterThan(0.6);
    expect(shards).toBeLessThan(0.95);
    expect(long).toBeLessThan(0.85);
  });

  it("spread what a member leaves behind over all others", () => {
    const list = cluster(16);
    const [all, rest] = [new Owners(list), new Owners(list.slice(1))];
    const heirs = new Map<string, number>();
    for (let group = 0; group < 20_000; group++) {
      const size = 20_000 * GROUP_BYTES;
      if (all.owner(objectId(3), group, size)!.id === "node-0") {
        const { id } = rest.owner(objectId(3), group, size)!;
        heirs.set(id, (heirs.get(id) ?? 0) + 1);
      }
    }
    const inherited = [...heirs.values()];
    expect(heirs.size).toBe(15);
    // Some 1,250 over 15: 83, with a deviation of 9 at most.
    expect(Math.min(...inherited)).toBeGreaterThan(83 - 4 * 9);
    expect(Math.max(...inherited)).toBeLessThan(83 + 4 * 9);
  });

  it("meet the balance bar on 64 nodes with 80,000 groups in shards of 256 MB", () => {
    const owned = counts(new Owners(cluster(64)), 2581, 31);
    const mean = (2581 * 31) / 64;
    expect(Math.max(...owned.values()) / mean).toBeLessThanOrEqual(1.1);
  });

  it("rank again what was forgotten, alike", () => {
    const owners = new Owners(cluster(5));
    const ask = () => owners.ranked(objectId(1), 70, 200 * GROUP_BYTES).map(({ id }) => id);
    const first = ask();
    for (let object = 100; object < 60_100; object++) owners.owner(objectId(object), 0, GROUP_BYTES); // more than are remembered
    expect(ask()).toEqual(first);
  });
});

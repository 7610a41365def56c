import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GROUP_BYTES } from "../../../src/peers/group.js";
import type { Member } from "../../../src/peers/member.js";
import { Owners, RANKS } from "../../../src/peers/rendezvous.js";

const RUNS = { numRuns: 100 };
const memberOf = ([id, weight]: readonly [string, number]): Member => ({ id, weight, labels: {}, url: `http://${id}:7070` });
const weight = fc.oneof(fc.constant(1), fc.constant(0), fc.double({ min: 0.01, max: 1000, noNaN: true }));
const lists = (minLength: number) =>
  fc.uniqueArray(fc.tuple(fc.string({ minLength: 1, maxLength: 12 }), weight), { minLength, maxLength: 40, selector: ([id]) => id });
const objects = fc.record({
  id: fc.stringMatching(/^[0-9a-f]{32}$/),
  groups: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 100, max: 400 })),
});
type Some = { readonly id: string; readonly groups: number };

const rankedOf = (owners: Owners, { id, groups }: Some) =>
  Array.from({ length: groups }, (_, group) => owners.ranked(id, group, groups * GROUP_BYTES).map((member) => member.id));

describe("Owners", () => {
  it("give every group one owner, and others behind it, out of those with a weight", () => {
    fc.assert(
      fc.property(lists(1), objects, (list, object) => {
        const able = new Set(list.filter(([, weight]) => weight > 0).map(([id]) => id));
        const owners = new Owners(list.map(memberOf));
        for (const [group, ids] of rankedOf(owners, object).entries()) {
          expect(ids).toHaveLength(Math.min(RANKS, able.size));
          expect(new Set(ids).size).toBe(ids.length);
          expect(ids.every((id) => able.has(id))).toBe(true);
          expect(owners.owner(object.id, group, object.groups * GROUP_BYTES)?.id).toBe(ids[0]);
        }
      }),
      RUNS,
    );
  });

  it("do not depend on the order of the list, nor on what was asked before", () => {
    fc.assert(
      fc.property(lists(1), objects, fc.infiniteStream(fc.nat()), (list, object, random) => {
        const ranked = rankedOf(new Owners(list.map(memberOf)), object);
        const mixed = list.map((member) => ({ member, key: random.next().value as number })).toSorted((a, b) => a.key - b.key);
        const other = new Owners(mixed.map(({ member }) => memberOf(member)));
        const backwards = Array.from({ length: object.groups }, (_, i) => object.groups - 1 - i);
        for (const group of backwards)
          expect(other.ranked(object.id, group, object.groups * GROUP_BYTES).map(({ id }) => id)).toEqual(ranked[group]);
      }),
      RUNS,
    );
  });

  it("change nothing but what a member that leaves has owned, which goes to the next in order", () => {
    fc.assert(
      fc.property(lists(2), objects, fc.nat(), (list, object, choice) => {
        const [leaver] = list[choice % list.length]!;
        const before = rankedOf(new Owners(list.map(memberOf)), object);
        const after = rankedOf(new Owners(list.filter(([id]) => id !== leaver).map(memberOf)), object);
        for (const [group, ids] of before.entries()) {
          const rest = ids.filter((id) => id !== leaver);
          expect(after[group]!.slice(0, rest.length)).toEqual(rest);
        }
      }),
      RUNS,
    );
  });

  it("move groups only towards a member whose weight rises", () => {
    fc.assert(
      fc.property(lists(2), objects, fc.nat(), (list, object, choice) => {
        const riser = choice % list.length;
        const before = rankedOf(new Owners(list.map(memberOf)), object);
        const heavier = list.map(([id, weight], i) => memberOf([id, i === riser ? weight * 2 + 0.5 : weight]));
        const after = rankedOf(new Owners(heavier), object);
        for (const [group, ids] of before.entries()) expect([ids[0], list[riser]![0]]).toContain(after[group]![0]);
      }),
      RUNS,
    );
  });

  it("agree about the owner wherever two lists both hold the best of their members", () => {
    fc.assert(
      fc.property(lists(3), objects, fc.nat(), fc.nat(), (list, object, one, other) => {
        const without = (choice: number) => list.filter((_, i) => i !== choice % list.length);
        const all = rankedOf(new Owners(list.map(memberOf)), object);
        const [here, there] = [without(one), without(other)];
        const [ours, theirs] = [here, there].map((some) => rankedOf(new Owners(some.map(memberOf)), object));
        const known = (some: typeof list, id: string | undefined) => some.some(([known]) => known === id);
        for (const [group, ids] of all.entries())
          if (known(here, ids[0]) && known(there, ids[0])) {
            expect(ours![group]![0]).toBe(ids[0]);
            expect(theirs![group]![0]).toBe(ids[0]);
          }
      }),
      RUNS,
    );
  });
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { isMillraceError } from "../../../src/errors.js";
import { parseDiscover } from "../../../src/peers/discovery/discover-spec.js";
import type { FoundPeer } from "../../../src/peers/discovery/found-peer.js";
import { mergePeers } from "../../../src/peers/discovery/merge-peers.js";

const SELF = { id: "id0", host: "h0", port: 1 };
const address = (peer: FoundPeer) => `${peer.host}:${peer.port}`;
/** Few names, so that they meet. */
const place = { host: fc.integer({ min: 0, max: 5 }).map((n) => `h${n}`), port: fc.integer({ min: 1, max: 2 }) };
const id = fc.integer({ min: 0, max: 7 }).map((n) => `id${n}`);
const peer: fc.Arbitrary<FoundPeer> = fc.oneof(fc.record(place), fc.record({ ...place, id, weight: fc.nat(3) }));
const lists = fc.array(fc.array(peer, { maxLength: 8 }), { maxLength: 4 });

test("a merged list has each id and each address once, and never this process", () => {
  fc.assert(
    fc.property(lists, (given) => {
      const merged = mergePeers(given, SELF);
      const ids = merged.flatMap((one) => one.id ?? []);
      expect(new Set(ids).size).toBe(ids.length);
      expect(new Set(merged.map(address)).size).toBe(merged.length);
      expect(ids).not.toContain(SELF.id);
      expect(merged.map(address)).not.toContain(address(SELF));
      expect(mergePeers([merged], SELF)).toEqual(merged);
    }),
  );
});

test("nothing is made up, and no address or id is lost without a reason", () => {
  fc.assert(
    fc.property(lists, (given) => {
      const all = given.flat().filter((one) => one.id !== SELF.id && address(one) !== address(SELF));
      const merged = mergePeers(given, SELF);
      for (const one of merged) {
        if (one.id === undefined) expect(all.map(address)).toContain(address(one));
        else expect(all).toContainEqual(one);
      }
      for (const one of all)
        if (one.id === undefined) expect(merged.map(address)).toContain(address(one));
        else
          expect(
            merged.some((other) => other.id === one.id || all.some((same) => same.id === one.id && address(same) === address(other))),
          ).toBe(true);
    }),
  );
});

test("an address keeps its identity, whichever engine knew it, unless ids dispute it", () => {
  const known = { host: "h1", port: 1, id: "id1", weight: 2 };
  const bare = { host: "h1", port: 1 };
  expect(mergePeers([[bare], [known]], SELF)).toEqual([known]);
  expect(mergePeers([[known], [bare]], SELF)).toEqual([known]);
  expect(mergePeers([[known], [{ ...known, id: "id2" }], [{ ...known, id: "id3" }]], SELF)).toEqual([bare]);
});

test("of several addresses of one id the first counts", () => {
  const first = { host: "h2", port: 1, id: "id1" };
  expect(mergePeers([[first], [{ host: "h1", port: 1, id: "id1" }]], SELF)).toEqual([first]);
});

test("the order within lists of peers with ids of their own changes nothing", () => {
  fc.assert(
    fc.property(fc.uniqueArray(peer, { selector: (one) => one.id ?? address(one) }), fc.integer(), (list, seed) => {
      const shuffled = list.map((one, i) => ({ one, key: Math.imul(i + seed, 0x9e3779b1) })).sort((a, b) => a.key - b.key);
      expect(mergePeers([shuffled.map(({ one }) => one)], SELF)).toEqual(mergePeers([list], SELF));
    }),
  );
});

test("whatever peers.discover holds, it is understood or refused by name, without what looks like a password", () => {
  const scheme = fc.constantFrom("redis://", "rediss://", "dns://", "file:", "", "http://");
  const part = fc.string({ unit: fc.constantFrom(..."ab1:/?#[]%,. _-"), maxLength: 12 });
  fc.assert(
    fc.property(scheme, part, part, part, (before, user, middle, after) => {
      const text = `${before}${user}:${middle}SECRET${after}@host:1`;
      try {
        parseDiscover(text);
      } catch (error) {
        expect(isMillraceError(error, "MILLRACE_CONFIG")).toBe(true);
        expect((error as Error).message).toMatch(/^peers\.discover: /);
        expect((error as Error).message).not.toContain("SECRET");
      }
    }),
    { numRuns: 1000 },
  );
});

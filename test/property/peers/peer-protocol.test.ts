/** Requests of any kind: taken for what they say, or refused; nothing else. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { objectId } from "../../../src/blocks/object-version.js";
import { PeerAuth } from "../../../src/peers/auth.js";
import { GROUP_BYTES } from "../../../src/peers/group.js";
import {
  blocksPath,
  formatChecksums,
  HEADER,
  objectHeaders,
  PeerRefusal,
  parseBlockRequest,
  parseChecksums,
  parseIdentity,
  signedParts,
} from "../../../src/peers/peer-protocol.js";

const blockSize = fc.constantFrom(64 * 1024, 2 ** 20, 64 * 2 ** 20);
const text = fc.string({ unit: "binary", maxLength: 40 });
const object = fc.record({ uri: text, size: fc.nat({ max: 10 ** 12 }), etag: text });
const odd = fc.oneof(fc.string(), fc.constantFrom("", "-1", "1e9", "9".repeat(40), "bytes=0-", "%", "%zz", "\u0000", "../..", "NaN", " 1"));
const headerValue = fc.oneof(odd, fc.array(odd, { maxLength: 2 }), fc.constant(undefined));

describe("a request for blocks", () => {
  it("says what was meant", () => {
    fc.assert(
      fc.property(object, blockSize, fc.nat(), fc.nat(), fc.nat(), fc.nat(), (one, block, a, b, c, d) => {
        fc.pre(one.size > 0);
        const first = a % Math.ceil(one.size / block);
        const groupEnd = (Math.floor((first * block) / GROUP_BYTES) + 1) * GROUP_BYTES;
        const limit = Math.min(Math.max(groupEnd, (first + 1) * block), one.size);
        const last = first + (b % Math.ceil((limit - first * block) / block));
        const end = Math.min((last + 1) * block, one.size);
        const from = first * block + (c % (end - first * block));
        const to = from + 1 + (d % (end - from));
        const range = `bytes=${from - first * block}-${to - first * block - 1}`;
        const path = blocksPath(objectId(one.uri, one), first, last);
        expect(parseBlockRequest(path, { ...objectHeaders(one), range }, block)).toMatchObject({ object: one, begin: from, end: to });
        expect(parseBlockRequest(path, objectHeaders(one), block)).toMatchObject({ begin: first * block, end });
      }),
    );
  });

  it("whatever comes, is taken only within its object and one group, else refused", () => {
    const names = [HEADER.uri, HEADER.size, HEADER.etag, HEADER.priority, HEADER.wide, "range"];
    const changes = fc.dictionary(fc.constantFrom(...names), headerValue);
    const numbers = fc.tuple(fc.nat({ max: 2000 }), fc.nat({ max: 2000 }));
    fc.assert(
      fc.property(object, changes, numbers, fc.option(odd), blockSize, (one, change, [first, last], tail, block) => {
        const path = blocksPath(objectId(one.uri, one), first, last) + (tail ?? "");
        const parsed = parseBlockRequest(path, { ...objectHeaders(one), ...change }, block);
        if (parsed instanceof PeerRefusal) {
          expect(parsed.status).toBeGreaterThanOrEqual(400);
          expect(parsed.message).not.toContain("\n");
          return;
        }
        expect(objectId(parsed.object.uri, parsed.object)).toBe(parsed.objectId);
        expect(parsed.whole.begin).toBeLessThanOrEqual(parsed.begin);
        expect(parsed.begin).toBeLessThan(parsed.end);
        expect(parsed.end).toBeLessThanOrEqual(parsed.whole.end);
        expect(parsed.whole.end).toBeLessThanOrEqual(parsed.object.size);
        expect(parsed.whole.end - parsed.whole.begin).toBeLessThanOrEqual(Math.max(GROUP_BYTES, block));
      }),
      { numRuns: 500 },
    );
  });

  it("is refused for any path, without an error", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.webPath(),
          fc.string().map((s) => `/v1/blocks/${s}`),
        ),
        fc.dictionary(fc.string(), headerValue),
        (path, headers) => {
          expect(parseBlockRequest(path, headers, 2 ** 20)).toBeInstanceOf(PeerRefusal);
        },
      ),
    );
  });
});

describe("what else comes from the network", () => {
  it("is never an error", () => {
    const auth = new PeerAuth({ secret: "s" });
    fc.assert(
      fc.property(fc.string(), fc.string(), fc.dictionary(fc.string(), headerValue), (a, b, headers) => {
        expect(auth.check(signedParts(a, headers), b)).toBe("unsigned");
        expect(auth.proves(a, [b], a)).toBe(false);
        expect(parseChecksums(a, 1) === undefined || /^[0-9a-f]{8}$/.test(a)).toBe(true);
        expect(parseIdentity(a)).toBeUndefined();
      }),
    );
    fc.assert(fc.property(fc.json(), (json) => void parseIdentity(json)));
  });

  it("checksums come back as they went", () => {
    const crc = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(fc.array(crc, { minLength: 1 }), (list) => {
        expect(parseChecksums(formatChecksums(list), list.length)).toEqual(list);
        expect(parseChecksums(formatChecksums(list), list.length + 1)).toBeUndefined();
      }),
    );
  });

  it("a signature holds for the request that was signed, and for no other", () => {
    const auth = new PeerAuth({ secret: "s" });
    fc.assert(
      fc.property(fc.array(fc.string()), fc.array(fc.string()), (parts, others) => {
        const signed = auth.sign(parts);
        expect(auth.check(parts, signed)).toBeUndefined();
        expect(auth.check(others, signed)).toBe(JSON.stringify(others) === JSON.stringify(parts) ? undefined : "signature");
      }),
    );
  });
});

import { describe, expect, it } from "vitest";
import { objectId } from "../../../src/blocks/object-version.js";
import {
  blocksPath,
  differingTerm,
  formatChecksums,
  formatIdentity,
  type Headers,
  objectHeaders,
  PeerRefusal,
  parseBlockRequest,
  parseChecksums,
  parseIdentity,
} from "../../../src/peers/peer-protocol.js";
import { BLOCK, identity } from "../../support/peers/nodes.js";

const MIB = 2 ** 20;
const OBJECT = { uri: "s3://bucket/ein schlüssel/\u{1f33e}\n?#%", size: 20 * MIB + 5, etag: '"etag"' };
const ID = objectId(OBJECT.uri, OBJECT);
const HEADERS: Headers = { ...objectHeaders(OBJECT), "x-millrace-priority": "1" };

function parse(path: string, headers: Headers = HEADERS, blockSize = BLOCK) {
  return parseBlockRequest(path, headers, blockSize);
}
function refusal(path: string, headers: Headers = HEADERS) {
  const parsed = parse(path, headers);
  return parsed instanceof PeerRefusal ? [parsed.status, parsed.reason] : "taken";
}

describe("a request for blocks", () => {
  it("names one block, or some of a group", () => {
    expect(parse(blocksPath(ID, 3, 3))).toEqual({
      objectId: ID,
      object: OBJECT,
      whole: { begin: 3 * BLOCK, end: 4 * BLOCK },
      begin: 3 * BLOCK,
      end: 4 * BLOCK,
      ranged: false,
      priority: 1,
      wide: false,
      instead: false,
    });
    expect(parse(blocksPath(ID, 128, 255), { ...HEADERS, "x-millrace-wide": "1" })).toMatchObject({
      begin: 8 * MIB,
      end: 16 * MIB,
      wide: true,
    });
    expect(parse(blocksPath(ID, 320, 320))).toMatchObject({ begin: 20 * MIB, end: 20 * MIB + 5 });
    expect(parse(blocksPath(ID, 1, 1), HEADERS, 16 * MIB)).toMatchObject({ begin: 16 * MIB, end: 20 * MIB + 5 });
  });

  it.each([
    ["bytes=0-0", 64 * 1024, 64 * 1024 + 1],
    ["bytes=10-131071", 64 * 1024 + 10, 3 * 64 * 1024],
    ["bytes=65536-65536", 2 * 64 * 1024, 2 * 64 * 1024 + 1],
  ])("may have a range: %s", (range, begin, end) => {
    expect(parse(blocksPath(ID, 1, 2), { ...HEADERS, range })).toMatchObject({ begin, end, ranged: true });
  });

  it.each([
    ["another group's block", `/v1/blocks/${ID}/127-128`, [400, "malformed"]],
    ["blocks backwards", `/v1/blocks/${ID}/2-1`, [400, "malformed"]],
    ["a block beyond the end", `/v1/blocks/${ID}/321`, [400, "malformed"]],
    ["blocks beyond the end", `/v1/blocks/${ID}/320-321`, [400, "malformed"]],
    ["a huge block", `/v1/blocks/${ID}/999999999999999`, [400, "malformed"]],
    ["a longer number", `/v1/blocks/${ID}/9999999999999999`, [404, "path"]],
    ["no block", `/v1/blocks/${ID}/`, [404, "path"]],
    ["another version", `/v2/blocks/${ID}/1`, [404, "path"]],
    ["a way up", `/v1/blocks/${ID}/../../peer`, [404, "path"]],
    ["an encoded way up", `/v1/blocks/${ID}/%2e%2e/1`, [404, "path"]],
    ["a query", `/v1/blocks/${ID}/1?x=1`, [404, "path"]],
    ["a whole URL", `http://other/v1/blocks/${ID}/1`, [404, "path"]],
    ["a short id", `/v1/blocks/${ID.slice(1)}/1`, [404, "path"]],
    ["an id in capitals", `/v1/blocks/${ID.toUpperCase()}/1`, [404, "path"]],
    ["another object's id", `/v1/blocks/${ID.replace(/^./, (c) => (c === "0" ? "1" : "0"))}/1`, [403, "object"]],
  ])("is refused with %s", (_what, path, verdict) => {
    expect(refusal(path)).toEqual(verdict);
  });

  it.each([
    ["no uri", { "x-millrace-uri": undefined }, [400, "malformed"]],
    ["a uri that decodes to nothing", { "x-millrace-uri": "%ff" }, [400, "malformed"]],
    ["another uri", { "x-millrace-uri": "s3%3A%2F%2Fbucket%2Fother" }, [403, "object"]],
    ["another size", { "x-millrace-size": "1000000" }, [403, "object"]],
    ["a size that is none", { "x-millrace-size": "-1" }, [400, "malformed"]],
    ["another etag", { "x-millrace-etag": "x" }, [403, "object"]],
    ["no etag", { "x-millrace-etag": undefined }, [400, "malformed"]],
    ["a range beyond", { range: "bytes=0-65536" }, [416, "malformed"]],
    ["a range backwards", { range: "bytes=5-4" }, [416, "malformed"]],
    ["an open range", { range: "bytes=5-" }, [416, "malformed"]],
    ["a suffix", { range: "bytes=-5" }, [416, "malformed"]],
    ["two ranges", { range: "bytes=0-1,4-5" }, [416, "malformed"]],
    ["an empty range", { range: "" }, [416, "malformed"]],
  ])("is refused with %s", (_what, change, verdict) => {
    expect(refusal(blocksPath(ID, 1, 1), { ...HEADERS, ...change })).toEqual(verdict);
  });

  it("is as urgent as it says, within bounds", () => {
    const urgency = (priority: string | undefined) => parse(blocksPath(ID, 1, 1), { ...HEADERS, "x-millrace-priority": priority });
    expect(urgency("7")).toMatchObject({ priority: 7 });
    expect(urgency("1000")).toMatchObject({ priority: 99 });
    for (const odd of ["-1", "x", undefined]) expect(urgency(odd)).toMatchObject({ priority: 0 });
  });
});

describe("checksums", () => {
  it("come in the order of the blocks, as many as there are", () => {
    expect(formatChecksums([0, 0xffffffff])).toBe("00000000,ffffffff");
    expect(parseChecksums("00000000,ffffffff", 2)).toEqual([0, 0xffffffff]);
    for (const wrong of ["", "00000000", "00000000,ffffffff,", "0,1", undefined, "0000000g,00000000"])
      expect(parseChecksums(wrong, 2)).toBeUndefined();
  });
});

describe("the handshake", () => {
  it("tells who a peer is", () => {
    const one = identity("node \u{1f33e}", { weight: 0, labels: { node: "n1" } });
    expect(parseIdentity(formatIdentity(one))).toEqual(one);
  });

  it.each([
    "",
    "{}",
    "null",
    "[]",
    "<html>",
    formatIdentity(identity("a")).replace('"a"', "1"),
    formatIdentity(identity("a", { weight: -1 })),
  ])("is none: %s", (text) => {
    expect(parseIdentity(text)).toBeUndefined();
  });

  it("names what differs", () => {
    expect(differingTerm(identity("a"), identity("b", { weight: 2 }))).toBeUndefined();
    expect(differingTerm(identity("a"), identity("b", { blockSize: 1 }))).toBe("cache.blockSize (65536 here, 1 there)");
  });
});

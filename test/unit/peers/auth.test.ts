import { describe, expect, it } from "vitest";
import { PeerAuth } from "../../../src/peers/auth.js";
import { HEADER, type Headers, signedParts } from "../../../src/peers/peer-protocol.js";

const NOW = 1_700_000_000_000;
const PATH = "/v1/blocks/0123456789abcdef0123456789abcdef/3-5";
const HEADERS: Headers = {
  range: "bytes=10-99",
  [HEADER.peer]: "node-1",
  [HEADER.options]: "version=1; block=65536",
  [HEADER.uri]: "s3%3A%2F%2Fb%2Fk",
  [HEADER.size]: "1000000",
  [HEADER.etag]: "%22e%22",
  [HEADER.priority]: "1",
};

function authOf(secret: string, now: () => number = () => NOW): PeerAuth {
  return new PeerAuth({ secret, now });
}
const auth = authOf("the secret");
const signed = auth.sign(signedParts(PATH, HEADERS));

function check(path: string, headers: Headers, authorization: string | undefined = signed, by = auth) {
  return by.check(signedParts(path, headers), authorization);
}

describe("a signed request", () => {
  it("is taken as it was sent, and again", () => {
    expect(check(PATH, HEADERS)).toBeUndefined();
    expect(check(PATH, HEADERS)).toBeUndefined();
    expect(check(PATH, { ...HEADERS, "user-agent": "not signed" })).toBeUndefined();
  });

  it.each<[what: string, path: string, headers: Headers]>([
    ["path", PATH.replace("3-5", "3-6"), HEADERS],
    ["object", PATH.replace("cdef/", "cdee/"), HEADERS],
    ...Object.keys(HEADERS).map((name) => [name, PATH, { ...HEADERS, [name]: `${String(HEADERS[name])}1` }] as [string, string, Headers]),
    ...Object.keys(HEADERS).map((name) => [`no ${name}`, PATH, { ...HEADERS, [name]: undefined }] as [string, string, Headers]),
    [HEADER.wide, PATH, { ...HEADERS, [HEADER.wide]: "1" }],
    ["two values in one", PATH, { ...HEADERS, [HEADER.size]: ["1000000", "5"] }],
    ["a value moved to the next", PATH, { ...HEADERS, [HEADER.uri]: "", [HEADER.size]: "s3%3A%2F%2Fb%2Fk1000000" }],
  ])("is refused with another %s", (_what, path, headers) => {
    expect(check(path, headers)).toBe("signature");
  });

  it.each([
    ["none", ""],
    ["another scheme", "Basic dXNlcjpwYXNz"],
    ["a short signature", signed.slice(0, -1)],
    ["a long one", `${signed}0`],
    ["upper case", signed.replace(/signature=.*/, (text) => text.toUpperCase())],
    ["no time", signed.replace(/time=\d+, /, "")],
    ["a time that is none", signed.replace(/time=\d+/, "time=soon")],
    ["a negative time", signed.replace(/time=/, "time=-")],
    ["two", `${signed}, ${signed}`],
  ])("is refused with an Authorization of %s", (_what, authorization) => {
    expect(check(PATH, HEADERS, authorization)).toBe("unsigned");
  });

  it("is refused with another time or a bit of the signature changed", () => {
    expect(check(PATH, HEADERS, signed.replace(String(NOW), String(NOW + 1)))).toBe("signature");
    const last = signed.endsWith("0") ? "1" : "0";
    expect(check(PATH, HEADERS, signed.slice(0, -1) + last)).toBe("signature");
  });

  it("is refused by those with another secret", () => {
    expect(check(PATH, HEADERS, signed, authOf("the secret "))).toBe("signature");
    expect(check(PATH, HEADERS, authOf("").sign(signedParts(PATH, HEADERS)))).toBe("signature");
  });

  it.each([
    [-60_001, "expired"],
    [-60_000, undefined],
    [60_000, undefined],
    [60_001, "expired"],
  ])("is judged by time: %i ms later", (later, verdict) => {
    const there = authOf("the secret", () => NOW + later);
    expect(check(PATH, HEADERS, signed, there)).toBe(verdict);
    // With the measured skew it is taken.
    expect(check(PATH, HEADERS, auth.sign(signedParts(PATH, HEADERS), later), there)).toBeUndefined();
  });
});

describe("a proof", () => {
  it("belongs to one request and one answer", () => {
    const proof = auth.prove(signed, ["blocks", "a", "5"]);
    expect(auth.proves(signed, ["blocks", "a", "5"], proof)).toBe(true);
    expect(auth.proves(signed, ["blocks", "a", "6"], proof)).toBe(false);
    expect(auth.proves(signed, ["blocks", "a5", ""], proof)).toBe(false);
    expect(auth.proves(auth.sign(["other"]), ["blocks", "a", "5"], proof)).toBe(false);
    expect(authOf("b").proves(signed, ["blocks", "a", "5"], proof)).toBe(false);
    expect(auth.proves(signed, ["blocks", "a", "5"], undefined)).toBe(false);
  });

  it("is no signature: what a peer answers cannot be sent as a request", () => {
    const [time] = /\d+/.exec(signed)!;
    const proof = auth.prove(time, ["GET", PATH]);
    expect(auth.check(["GET", PATH], `Millrace-HMAC-SHA256 time=${time}, signature=${proof}`)).toBe("signature");
  });
});

import { describe, expect, it } from "vitest";
import { Sigv4Signer } from "../../../src/storage/sigv4.js";

const KEYS = { accessKeyId: "AKIAIOSFODNN7EXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY" };
const DATE = new Date("2013-05-24T00:00:00Z");

describe("Sigv4Signer", () => {
  it("signs the GET of AWS's documentation as it does", () => {
    const request = { method: "GET", host: "examplebucket.s3.amazonaws.com", path: "/test.txt", headers: { range: "bytes=0-9" } };
    const headers = new Sigv4Signer("us-east-1").sign(request, KEYS, DATE);
    expect(headers).toEqual({
      range: "bytes=0-9",
      "x-amz-date": "20130524T000000Z",
      "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      authorization:
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, " +
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, " +
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
    });
  });

  it("signs a query as in AWS's documentation", () => {
    const request = { method: "GET", host: "examplebucket.s3.amazonaws.com", path: "/", query: "max-keys=2&prefix=J" };
    expect(new Sigv4Signer("us-east-1").sign(request, KEYS, DATE).authorization).toContain(
      "Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
    );
  });

  it("signs a body as in AWS's documentation", () => {
    const payloadHash = "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072";
    const headers = { date: "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY" };
    const request = { method: "PUT", host: "examplebucket.s3.amazonaws.com", path: "/test%24file.text", payloadHash, headers };
    expect(new Sigv4Signer("us-east-1").sign(request, KEYS, DATE)).toMatchObject({
      "x-amz-content-sha256": payloadHash,
      authorization: expect.stringContaining("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
    });
  });

  it("signs the session token, and keeps no key of another day or secret", () => {
    const request = { method: "GET", host: "h", path: "/k" };
    const kept = new Sigv4Signer("us-east-1");
    const days = [DATE, new Date("2013-05-25T00:00:00Z")];
    const all = [KEYS, { ...KEYS, secretAccessKey: "other" }, { ...KEYS, sessionToken: "token" }];
    for (const keys of [...all, ...all])
      for (const date of days) expect(kept.sign(request, keys, date)).toEqual(new Sigv4Signer("us-east-1").sign(request, keys, date));
    expect(kept.sign(request, all[2]!, DATE)).toMatchObject({
      "x-amz-security-token": "token",
      authorization: expect.stringContaining("x-amz-security-token"),
    });
  });
});

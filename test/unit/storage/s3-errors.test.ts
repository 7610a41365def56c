import { describe, expect, it } from "vitest";
import { failureOf, failureOfSdk, isExpired, s3Error, sdkError } from "../../../src/storage/s3-errors.js";

const xml = (code: string, more = "") => `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Because.</Message>${more}</Error>`;
const subject = { uri: "s3://b/k", range: { begin: 0, end: 5 } };

describe("s3Error", () => {
  it.each([
    [403, xml("AccessDenied"), "MILLRACE_PERMISSION", /access denied/],
    [403, xml("SignatureDoesNotMatch"), "MILLRACE_PERMISSION", /SignatureDoesNotMatch/],
    [403, xml("InvalidObjectState"), "MILLRACE_PERMISSION", /archived/],
    [403, xml("RequestTimeTooSkewed"), "MILLRACE_PERMISSION", /clock/],
    [400, xml("ExpiredToken"), "MILLRACE_PERMISSION", /expired/],
    [404, xml("NoSuchKey"), "MILLRACE_NOT_FOUND", /no such key/],
    [404, xml("NoSuchBucket"), "MILLRACE_NOT_FOUND", /no such bucket/],
    [404, "", "MILLRACE_NOT_FOUND", /no such key/],
    [412, xml("PreconditionFailed"), "MILLRACE_CHANGED", /has changed/],
    [416, xml("InvalidRange"), "MILLRACE_CHANGED", /has changed/],
    [503, xml("SlowDown"), "MILLRACE_UNAVAILABLE", /SlowDown: Because\./],
    [400, xml("RequestTimeout"), "MILLRACE_UNAVAILABLE", /RequestTimeout/],
    [429, "", "MILLRACE_UNAVAILABLE", /429/],
    [500, xml("InternalError"), "MILLRACE_UNAVAILABLE", /InternalError/],
    [301, xml("PermanentRedirect"), "MILLRACE_CONFIG", /another region; set s3\.region/],
    [400, xml("AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"), "MILLRACE_CONFIG", /set s3\.region to "eu-west-3"/],
    [400, xml("InvalidBucketName"), "MILLRACE_CONFIG", /InvalidBucketName/],
  ])("HTTP %i %s", (status, body, code, message) => {
    const error = s3Error(failureOf({ status, headers: {}, body }), subject);
    expect(error).toMatchObject({ code, uri: "s3://b/k", range: subject.range });
    expect(error.message).toMatch(message);
  });

  it("names the region by the header of an answer without body", () => {
    const failure = failureOf({ status: 301, headers: { "x-amz-bucket-region": "ap-south-1" }, body: "" });
    expect(s3Error(failure, subject).message).toMatch(/"ap-south-1"/);
  });

  it.each([
    ["SlowDown", 503, 0],
    ["ThrottlingException", 400, 0],
    ["", 503, 0],
    ["", 429, 0],
    ["InternalError", 500, undefined],
    ["RequestTimeout", 400, undefined],
  ])("%s %i says whether the origin wants fewer requests", (name, status, retryAfterMs) => {
    const body = name === "" ? "" : xml(name);
    const error = s3Error(failureOf({ status, headers: {}, body }), subject);
    expect([error.code, error.retryAfterMs]).toEqual(["MILLRACE_UNAVAILABLE", retryAfterMs]);
  });

  it("passes Retry-After on, and cuts long messages", () => {
    const long = xml("SlowDown").replace("Because.", "x".repeat(10_000));
    const error = s3Error(failureOf({ status: 503, headers: { "retry-after": "4" }, body: long }), subject);
    expect(error.retryAfterMs).toBe(4000);
    expect(error.message.length).toBeLessThan(500);
  });
});

describe("sdkError", () => {
  const thrown = (name: string, httpStatusCode: number) =>
    Object.assign(new Error("Because."), {
      name,
      $metadata: { httpStatusCode },
      $response: { headers: { "x-amz-bucket-region": "eu-west-1" } },
    });
  it("reads code and status of what the SDK throws", () => {
    expect(sdkError(thrown("NoSuchBucket", 404), subject)).toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    expect(sdkError(thrown("NotFound", 404), subject).message).toMatch(/no such key/);
    expect(sdkError(thrown("PermanentRedirect", 301), subject).message).toMatch(/"eu-west-1"/);
    expect(sdkError(thrown("SlowDown", 503), subject)).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
  });
  it("takes a bare 400, HEAD's answer to an expired token, for one", () => {
    expect(isExpired(failureOfSdk(thrown("UnknownError", 400))!)).toBe(true);
    expect(isExpired(failureOfSdk(thrown("InvalidArgument", 400))!)).toBe(false);
  });
  it("takes what has no answer for a network's failure", () => {
    const timeout = Object.assign(new Error("slow"), { name: "TimeoutError", $metadata: { attempts: 1 } });
    expect(sdkError(timeout, subject)).toMatchObject({ code: "MILLRACE_TIMEOUT" });
    expect(sdkError(Object.assign(new Error("x"), { code: "ECONNREFUSED" }), subject)).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
  });
});

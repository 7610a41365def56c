import { deflateSync, gzipSync } from "node:zlib";
import { expect, it } from "vitest";
import { inflate } from "../../../src/formats/inflate.js";
import { failure } from "./memory-reader.js";

const plain = Buffer.from("abc".repeat(10_000));

it.each([
  ["gzip", gzipSync(plain)],
  ["zlib", deflateSync(plain)],
  ["gzip of two members", Buffer.concat([gzipSync(plain.subarray(0, 7)), gzipSync(plain.subarray(7))])],
])("inflates %s from shared memory", async (_, bytes) => {
  const shared = new Uint8Array(new SharedArrayBuffer(bytes.length));
  shared.set(bytes);
  const inflated = await inflate(shared, "a.gz");
  expect(plain.equals(inflated)).toBe(true);
});

it("stops at the limit", async () => {
  expect((await inflate(gzipSync(plain), "a.gz", plain.length)).length).toBe(plain.length);
  const error = await failure(() => inflate(gzipSync(plain), "s3://b/a.gz", plain.length - 1));
  expect(error).toMatchObject({ code: "MILLRACE_FORMAT", uri: "s3://b/a.gz" });
  expect(error.message).toContain("inflates to more than 29.3 KiB");
});

it.each([
  ["cut short", gzipSync(plain).subarray(0, -1)],
  ["no gzip", Buffer.from("hello")],
  ["empty", Buffer.alloc(0)],
  ["of the wrong checksum", Buffer.from(gzipSync(plain).map((byte, i, all) => (i === all.length - 8 ? byte ^ 1 : byte)))],
])("says what is damaged: %s", async (_, bytes) => {
  const error = await failure(() => inflate(bytes, "s3://b/a.gz"));
  expect(error.code).toBe("MILLRACE_CORRUPT");
  expect(error.message).toContain("s3://b/a.gz");
});

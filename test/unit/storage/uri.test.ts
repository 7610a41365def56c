import { describe, expect, it } from "vitest";
import { encodePath, parseUri, redactUri } from "../../../src/storage/uri.js";

describe("parseUri", () => {
  it.each([
    ["s3://bucket", "s3", "s3://bucket", ""],
    ["s3://bucket/", "s3", "s3://bucket", ""],
    ["s3://bucket/a/b c%20?#.tar", "s3", "s3://bucket", "a/b c%20?#.tar"],
    ["S3://bucket//a", "s3", "s3://bucket", "/a"],
    ["https://Example.com:443/data/x.tar?v=1", "https", "https://example.com", "data/x.tar?v=1"],
    ["http://127.0.0.1:9000/x", "http", "http://127.0.0.1:9000", "x"],
    ["file:///data/a b%20", "file", "file://", "data/a b%20"],
    ["file:///data/folder/", "file", "file://", "data/folder/"],
    ["file:///data/../etc/./x", "file", "file://", "etc/x"],
    ["file:/data/x", "file", "file://", "data/x"],
    ["file:///", "file", "file://", ""],
    ["memory://name/a", "memory", "memory://name", "a"],
    ["gs://bucket/k", "gs", "gs://bucket", "k"],
  ])("%s", (uri, scheme, root, path) => {
    expect(parseUri(uri)).toEqual({ scheme, root, path });
  });

  it("takes relative file URIs from the working directory", () => {
    const here = process.cwd().slice(1);
    expect(parseUri("file:./x/../y").path).toBe(`${here}/y`);
    expect(parseUri("file:x").path).toBe(`${here}/x`);
  });

  it.each(["no-uri", "/a/b", "./x", "", "s3:bucket", "s3:///key", "file://host/x", "http://a b/x"])("refuses %j", (uri) => {
    expect(() => parseUri(uri)).toThrowError(expect.objectContaining({ code: "MILLRACE_CONFIG" }));
  });

  it.each(["https://user:secret@host/x", "s3://AKIA:secret@bucket/x", "https://secret@host/x?sig=secret"])(
    "refuses credentials: %s",
    (uri) => {
      expect(() => parseUri(uri)).toThrowError(/must not hold credentials/);
      expect(() => parseUri(uri)).not.toThrowError(/secret/);
    },
  );
});

describe("redactUri", () => {
  it("leaves out credentials, and http's query and fragment", () => {
    expect(redactUri("https://u:p@host/a?X-Amz-Signature=1#f")).toBe("https://host/a");
    expect(redactUri("s3://k:s@bucket/a?b")).toBe("s3://bucket/a?b");
    expect(redactUri("s3://bucket@host:9000/a@b:c@d")).toBe("s3://bucket@host:9000/a@b:c@d");
  });
});

describe("encodePath", () => {
  it("encodes all but unreserved characters and slashes", () => {
    expect(encodePath("a/b c+%!'()*~-_.é")).toBe("a/b%20c%2B%25%21%27%28%29%2A~-_.%C3%A9");
  });
  it("does not throw on half a surrogate pair", () => {
    expect(encodePath("\ud800")).toBe("%EF%BF%BD");
  });
});

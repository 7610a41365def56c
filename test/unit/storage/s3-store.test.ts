import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import type { S3Credentials, S3Options } from "../../../src/api.js";
import type { HttpTimeouts } from "../../../src/storage/http-timeouts.js";
import { S3Store } from "../../../src/storage/s3-store.js";
import type { Store } from "../../../src/storage/store.js";
import { crc32c } from "../../../src/util/crc32c.js";
import { startCutting } from "../../support/cutting-proxy.js";
import { type Origin, startOrigin } from "../../support/origin/index.js";
import { rawServer, response } from "../../support/raw-server.js";
import { keys } from "../../support/s3-keys.js";

let origin: Origin;
const stores: Store[] = [];
beforeAll(async () => {
  origin = await startOrigin({ buckets: ["b", "empty"], anonymousRead: true });
  await origin.put(
    "b",
    "k",
    Uint8Array.from({ length: 1000 }, (_, i) => i % 251),
  );
});
beforeEach(async () => {
  await origin.shape({});
  await origin.clearFaults();
  await origin.reset();
});
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const store of stores.splice(0)) await store.close?.();
});
afterAll(() => origin?.close());

const logged: object[] = [];
const HASTY = { connectMs: 1000, headMs: 1000, stallMs: 500 };

async function open(s3: S3Options = {}, bucket = "b", timeouts: HttpTimeouts = {}): Promise<S3Store> {
  const all = { endpoint: origin.endpoint, forcePathStyle: true, credentials: keys(origin), ...s3 };
  const store = await S3Store.open(bucket, {
    s3: all,
    timeouts,
    retry: { baseMs: 1, capMs: 2 },
    log: (_, fields, message) => logged.push({ ...fields, message }),
  });
  stores.push(store);
  return store;
}

async function* parts(count: number, bytes: number) {
  for (let i = 0; i < count; i++) yield new Uint8Array(bytes).fill(i + 1);
}

describe("S3Store: place", () => {
  it("is part of the identity where it is not AWS", async () => {
    const host = new URL(origin.endpoint).host;
    expect((await open()).uri).toBe(`s3://b@${host}`);
    expect((await open({ forcePathStyle: false, endpoint: "https://store.example" })).uri).toBe("s3://b@store.example");
    expect((await open({ endpoint: undefined, region: "eu-west-1" })).uri).toBe("s3://b");
  });

  it("comes from the environment where no option says it", async () => {
    vi.stubEnv("AWS_ENDPOINT_URL_S3", origin.endpoint);
    vi.stubEnv("AWS_ACCESS_KEY_ID", origin.credentials.accessKeyId);
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", origin.credentials.secretAccessKey);
    const store = await open({ endpoint: undefined, credentials: undefined });
    const object = await store.stat("k");
    const target = new Uint8Array(3);
    await store.readInto(object, 1, [target]);
    expect([...target]).toEqual([1, 2, 3]);
  });

  it("is MILLRACE_CONFIG without a region on AWS, and with a bad endpoint or bucket", async () => {
    vi.stubEnv("AWS_REGION", "");
    vi.stubEnv("AWS_DEFAULT_REGION", "");
    await expect(open({ endpoint: undefined })).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("s3.region"),
    });
    await expect(open({ endpoint: "not a url" })).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
  });

  it("says which region is meant where the signature is for another", async () => {
    const store = await open({ region: "eu-west-1" });
    const object = { path: "k", size: 1000, etag: '"x"', lastModified: undefined };
    await expect(store.readInto(object, 0, [new Uint8Array(1)])).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("us-east-1"),
    });
  });
});

describe("S3Store: what is missing or forbidden", () => {
  it("tells a missing bucket from a missing key", async () => {
    const store = await open();
    await expect(store.stat("nothing")).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      message: expect.stringContaining("no such key"),
    });
    const absent = await open({}, "absent");
    const message = expect.stringContaining("no such bucket");
    await expect(absent.stat("k")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND", message });
    await expect(absent.list("")[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND", message });
    await expect(absent.write("k", parts(1, 1))).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND", message });
    await expect(store.stat("")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });

  it("looks at the bucket only once", async () => {
    const store = await open();
    for (let i = 0; i < 3; i++) await expect(store.stat(`nothing${i}`)).rejects.toThrow();
    const { kinds } = await origin.stats();
    expect(kinds.head).toBe(3);
    expect(kinds.bucket).toBe(1);
  });

  it("is MILLRACE_PERMISSION for wrong keys, and for what is denied", async () => {
    const wrong = await open({ credentials: { accessKeyId: "x", secretAccessKey: "y" } });
    await expect(wrong.stat("k")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    await origin.shape({ deny: ["b/k"] });
    const store = await open();
    const object = { path: "k", size: 1000, etag: '"x"', lastModified: undefined };
    await expect(store.readInto(object, 0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
  });

  it("needs no keys where it is anonymous", async () => {
    const store = await open({ anonymous: true, credentials: undefined });
    const object = await store.stat("k");
    await store.readInto(object, 0, [new Uint8Array(10)]);
    for await (const { path } of store.list("")) expect(path).toBeTypeOf("string");
    await expect(store.write("no", parts(1, 1))).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
  });
});

describe("S3Store: credentials", () => {
  const asking = () => {
    const given: S3Credentials[] = [];
    const ask = async () => {
      given.push(keys({ credentials: await origin.issue(3_600_000) }));
      return given.at(-1)!;
    };
    return { given, ask };
  };

  it("asks for new ones once when they are refused as expired, for reads, stats, lists and writes", async () => {
    const { given, ask } = asking();
    const store = await open({ credentials: ask });
    const object = await store.stat("k");
    const uses = [
      () => store.readInto(object, 0, [new Uint8Array(10)]),
      () => store.stat("k"),
      () => store.list("")[Symbol.asyncIterator]().next(),
      () => store.write("w", parts(1, 1)),
      () => Promise.all(Array.from({ length: 8 }, () => store.readInto(object, 0, [new Uint8Array(10)]))),
    ];
    for (const [i, use] of uses.entries()) {
      await origin.expireTokens();
      await use();
      expect(given).toHaveLength(i + 2);
    }
  });

  it("says so where the new ones are no better", async () => {
    const stale = keys({ credentials: await origin.issue() });
    const store = await open({ credentials: async () => ({ ...stale, expiration: undefined }) });
    const object = await store.stat("k");
    await origin.expireTokens();
    await expect(store.readInto(object, 0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
  });

  it("signs with the server's time where this machine's is wrong", async () => {
    const store = await open();
    const object = await store.stat("k");
    await origin.shape({ clockOffsetMs: 3_600_000 });
    await store.readInto(object, 0, [new Uint8Array(10)]);
    await store.stat("k");
    await origin.reset();
    await store.readInto(object, 0, [new Uint8Array(10)]);
    expect((await origin.stats()).requests).toBe(1);
  });

  it("is MILLRACE_CONFIG where the function fails", async () => {
    const store = await open({ credentials: () => Promise.reject(new Error("vault is sealed")) });
    await expect(store.stat("k")).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringContaining("vault is sealed") });
  });
});

describe("S3Store: elsewhere", () => {
  const OBJECT = { path: "dir/k", size: 10, etag: '"v"', lastModified: undefined };
  const PART = { "content-length": 4, "content-range": "bytes 2-5/10", etag: '"v"' };
  const redirect = (status: number, code: string, more: Record<string, string>) => {
    const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>Please use the addressed endpoint.</Message></Error>`;
    return response(status, { "content-length": body.length, connection: "close", ...more }, body);
  };
  const serve = async (answer: (request: string) => string) => {
    const server = await rawServer((socket, request) => socket.write(answer(request)));
    stores.push({ close: () => server.close() } as unknown as Store);
    return server;
  };

  it("follows a temporary redirect of a read to another host, with a signature for that host", async () => {
    const other = await serve(() => response(206, PART, "2345"));
    const first = await serve(() => redirect(307, "TemporaryRedirect", { location: `${other.url}/b/dir/k` }));
    const store = await open({ endpoint: first.url, region: "us-east-1" });
    const target = new Uint8Array(4);
    await store.readInto(OBJECT, 2, [target]);
    expect(Buffer.from(target).toString()).toBe("2345");
    const host = new URL(other.url).host;
    expect(other.requests[0]).toMatch(new RegExp(`^GET /b/dir/k HTTP/1.1\r\nhost: ${host}\r\n`));
    const signature = (request: string) => /Signature=([0-9a-f]+)/.exec(request)![1];
    expect(signature(other.requests[0]!)).not.toBe(signature(first.requests[0]!));
    expect(first.requests).toHaveLength(1);
  });

  it("follows one only, and none that names no place", async () => {
    const circle = await serve(() => redirect(307, "TemporaryRedirect", { location: `${circle.url}/b/dir/k` }));
    const nowhere = await serve(() => redirect(307, "TemporaryRedirect", {}));
    for (const { server, requests } of [
      { server: circle, requests: 2 },
      { server: nowhere, requests: 1 },
    ]) {
      const store = await open({ endpoint: server.url });
      await expect(store.readInto(OBJECT, 2, [new Uint8Array(4)])).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
      expect(server.requests).toHaveLength(requests);
    }
  });

  it("is MILLRACE_CONFIG with the region for a bucket that is in another, for reads, stats and lists", async () => {
    const server = await serve((request) => {
      const moved = redirect(301, "PermanentRedirect", { "x-amz-bucket-region": "eu-west-3" });
      return request.startsWith("HEAD") ? moved.slice(0, moved.indexOf("\r\n\r\n") + 4) : moved;
    });
    const store = await open({ endpoint: server.url });
    const error = { code: "MILLRACE_CONFIG", message: expect.stringContaining('set s3.region to "eu-west-3"') };
    await expect(store.readInto(OBJECT, 2, [new Uint8Array(4)])).rejects.toMatchObject(error);
    await expect(store.stat("dir/k")).rejects.toMatchObject(error);
    await expect(store.list("")[Symbol.asyncIterator]().next()).rejects.toMatchObject(error);
  });
});

describe("S3Store: requests", () => {
  it("reads with one GET each, of exactly the range", async () => {
    const store = await open();
    const object = await store.stat("k");
    await origin.reset();
    await store.readInto(object, 100, [new Uint8Array(50), new Uint8Array(7)]);
    await store.readInto(object, 5, []);
    const { requests, ranges, bytesSent } = await origin.stats();
    expect({ requests, ranges, bytesSent }).toEqual({ requests: 1, ranges: [{ key: "b/k", begin: 100, end: 157 }], bytesSent: 57 });
  });

  it("lists nothing of an empty bucket with one request", async () => {
    const store = await open({}, "empty");
    expect((await store.list("")[Symbol.asyncIterator]().next()).done).toBe(true);
    expect((await origin.stats()).kinds.list).toBe(1);
  });

  it("does not go on with a listing whose pages do not", async () => {
    const body = "<ListBucketResult><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken></ListBucketResult>";
    const server = await rawServer((socket) => socket.write(response(200, { "content-length": body.length }, body)));
    const store = await open({ endpoint: server.url });
    await expect(store.list("")[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(server.requests).toHaveLength(2);
    await server.close();
  });

  it("a silent server is MILLRACE_TIMEOUT for control calls too", async () => {
    const server = await rawServer(() => undefined);
    const store = await open({ endpoint: server.url }, "b", HASTY);
    await expect(store.stat("k")).rejects.toMatchObject({ code: "MILLRACE_TIMEOUT" });
    await expect(store.stat("k", { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await server.close();
  });

  it("maps a fault of each kind", async () => {
    const store = await open();
    const object = await store.stat("k");
    const hasty = await open({}, "b", HASTY);
    const faults = [
      ["SlowDown", "MILLRACE_UNAVAILABLE"],
      ["InternalError", "MILLRACE_UNAVAILABLE"],
      ["reset", "MILLRACE_UNAVAILABLE"],
      ["truncate", "MILLRACE_UNAVAILABLE"],
      ["hang", "MILLRACE_TIMEOUT"],
      ["stall", "MILLRACE_TIMEOUT"],
      ["AccessDenied", "MILLRACE_PERMISSION"],
      ["PreconditionFailed", "MILLRACE_CHANGED"],
    ] as const;
    for (const [fault, code] of faults) {
      await origin.failNext(1, fault);
      const reader = code === "MILLRACE_TIMEOUT" ? hasty : store;
      await expect(reader.readInto(object, 0, [new Uint8Array(1000)]), fault).rejects.toMatchObject({ code });
    }
    await store.readInto(object, 0, [new Uint8Array(1000)]);
  });
});

describe("S3Store: writes", () => {
  it("puts small objects whole, and large ones in parts", async () => {
    const store = await open();
    expect(await store.write("small", parts(3, 1000))).toMatchObject({ path: "small", size: 3000 });
    expect((await origin.stats()).kinds).toMatchObject({ put: 1, multipart: 0 });
    await origin.reset();
    await store.write("large", parts(17, 2 ** 20));
    // Create, three parts, complete.
    expect((await origin.stats()).kinds).toMatchObject({ put: 0, multipart: 5 });
    await origin.reset();
    await store.write("one part", parts(8, 2 ** 20));
    expect((await origin.stats()).kinds).toMatchObject({ multipart: 3 });
  });

  it("sends a failed request of an upload again, from memory", async () => {
    const store = await open();
    await origin.failNext(2, "SlowDown");
    await store.write("retried", parts(1, 10));
    await origin.failNext(3, "InternalError", { kind: "multipart" });
    const { etag } = await store.write("retried-parts", parts(20, 2 ** 20));
    expect(await store.stat("retried-parts")).toMatchObject({ size: 20 * 2 ** 20, etag });
    const target = new Uint8Array(20);
    for (let i = 0; i < 20; i++) await store.readInto(await store.stat("retried-parts"), i * 2 ** 20, [target.subarray(i, i + 1)]);
    expect([...target]).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
  });

  it("has each part's bytes checked: by their CRC-32C, by their signature, or by TLS", async () => {
    const ids = "<InitiateMultipartUploadResult><UploadId>a/b+c</UploadId></InitiateMultipartUploadResult>";
    const asks = (request: string) => /x-amz-checksum-algorithm: CRC32C/i.test(request);
    const headsOf = async (created: Record<string, string>, refused?: number) => {
      const server = await rawServer((socket, request, count) => {
        if (count === 1 && refused !== undefined) socket.write(response(refused, { "content-length": 0 }));
        else if (request.startsWith("POST") && request.includes("?uploads"))
          socket.write(response(200, { ...(asks(request) && created), "content-length": ids.length }, ids));
        else socket.write(response(200, { etag: '"e"', "content-length": 0 }));
      });
      const store = await open({ endpoint: server.url });
      await store.write("k", parts(8, 2 ** 20)).catch(() => {}); // What completes it has no answer here.
      await server.close();
      return server.requests.filter((head) => head.startsWith("PUT"));
    };
    const body = Buffer.concat([...Array(8).keys()].map((i) => new Uint8Array(2 ** 20).fill(i + 1)));
    const sum = Buffer.alloc(4);
    sum.writeUInt32BE(crc32c(body));
    const known = { "x-amz-checksum-algorithm": "CRC32C" };
    const [checked] = await headsOf(known);
    expect(checked).toContain("/b/k?partNumber=1&uploadId=a%2Fb%2Bc ");
    expect(checked).toContain(`x-amz-checksum-crc32c: ${sum.toString("base64")}`);
    expect(checked).toContain("x-amz-content-sha256: UNSIGNED-PAYLOAD");
    expect(checked).toMatch(/SignedHeaders=[^,]*x-amz-checksum-crc32c/);
    // A server that only fails now is asked for them again.
    for (const status of [500, 503]) expect((await headsOf(known, status))[0]).toContain("x-amz-checksum-crc32c: ");
    for (const [signed] of [await headsOf({}), await headsOf({}, 400), await headsOf({}, 501)]) {
      expect(signed).toContain(`x-amz-content-sha256: ${createHash("sha256").update(body).digest("hex")}`);
      expect(signed).not.toContain("x-amz-checksum");
    }
  });

  it.each([
    ["the object is there", false],
    ["another object of that length is there", true],
  ])("an upload that was completed, and its answer lost: %s", async (_, replaced) => {
    const completes = (request: string) => /^POST \S*uploadId/.test(request);
    const proxy = await startCutting(origin.endpoint, completes, !replaced);
    const store = await open({ endpoint: proxy.url }, "b", HASTY);
    const writing = store.write("lost answer", parts(20, 2 ** 20));
    writing.catch(() => {});
    await proxy.cut;
    // The connection hangs until another has written the object.
    if (replaced) await (await open()).write("lost answer", parts(10, 2 ** 21));
    if (replaced) await expect(writing).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    else {
      const { etag } = await writing;
      expect(await (await open()).stat("lost answer")).toMatchObject({ size: 20 * 2 ** 20, etag });
    }
    await proxy.close();
  });

  it.each([
    ["the object is there", false],
    ["another object of that length is there", true],
  ])("the same where ETags say nothing of the bytes: %s", async (_, replaced) => {
    const sum = (bytes: Uint8Array) => {
      const four = Buffer.alloc(4);
      four.writeUInt32BE(crc32c(bytes));
      return four;
    };
    const bytes = Buffer.concat([...Array(9).keys()].map((i) => new Uint8Array(2 ** 20).fill(i + 1)));
    const sums = Buffer.concat([sum(bytes.subarray(0, 8 * 2 ** 20)), sum(bytes.subarray(8 * 2 ** 20))]);
    const server = await rawServer((socket, request) => {
      const gone = "<Error><Code>NoSuchUpload</Code></Error>";
      const created = "<R><UploadId>u</UploadId></R>";
      if (request.includes("?uploads"))
        socket.write(response(200, { "x-amz-checksum-algorithm": "CRC32C", "content-length": created.length }, created));
      else if (request.startsWith("POST")) socket.write(response(404, { "content-length": gone.length }, gone));
      else if (request.startsWith("PUT")) socket.write(response(200, { etag: '"of a key"', "content-length": 0 }));
      else if (/x-amz-checksum-mode: ENABLED/i.test(request)) {
        const checksum = `${sum(replaced ? bytes : sums).toString("base64")}-2`;
        socket.write(response(200, { etag: '"of this key"', "content-length": bytes.length, "x-amz-checksum-crc32c": checksum }));
      }
    });
    const writing = (await open({ endpoint: server.url })).write("k", parts(9, 2 ** 20));
    if (replaced) await expect(writing).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    else expect(await writing).toMatchObject({ size: bytes.length, etag: '"of this key"' });
    await server.close();
  });

  it("an upload that is completed without an ETag has that of its parts, whoever has overwritten it since", async () => {
    const md5 = (bytes: Uint8Array) => createHash("md5").update(bytes).digest();
    const part = md5(Buffer.from("a part"));
    const server = await rawServer((socket, request) => {
      const xml = request.includes("?uploads") ? "<R><UploadId>u</UploadId></R>" : "<R><ETag></ETag></R>";
      if (request.startsWith("POST")) socket.write(response(200, { "content-length": xml.length }, xml));
      else if (request.startsWith("PUT")) socket.write(response(200, { etag: `"${part.toString("hex")}"`, "content-length": 0 }));
      else socket.write(response(200, { etag: '"another writer\'s"', "content-length": 8 * 2 ** 20 }));
    });
    const store = await open({ endpoint: server.url });
    expect(await store.write("k", parts(8, 2 ** 20))).toMatchObject({ etag: `"${md5(part).toString("hex")}-1"` });
    await server.close();
  });

  it("an upload that was aborted does not wait for an origin that hangs", async () => {
    const store = await open({}, "b", HASTY);
    const stop = new AbortController();
    logged.length = 0;
    const hanging = async function* () {
      yield* parts(9, 2 ** 20);
      await origin.reset();
      await origin.failNext(100, "hang", { kind: "multipart" });
      stop.abort();
      yield* parts(1, 2 ** 20);
    };
    await expect(store.write("hangs", hanging(), { signal: stop.signal })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    const { kinds } = await origin.stats();
    // Parts, and twice that they are to be forgotten.
    expect(kinds.multipart).toBeLessThanOrEqual(4);
    expect(logged).toEqual([
      expect.objectContaining({
        uri: expect.stringMatching(/\/hangs$/),
        uploadId: expect.any(String),
        message: expect.stringContaining("AbortIncompleteMultipartUpload"),
      }),
    ]);
  }, 30_000);

  it("takes the parts back when the upload fails", async () => {
    const store = await open();
    await origin.failNext(1, "AccessDenied", { kind: "multipart" });
    await expect(store.write("denied", parts(10, 2 ** 20))).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    const sabotaged = async function* () {
      yield* parts(12, 2 ** 20);
      await origin.failNext(1, "AccessDenied", { kind: "multipart" });
      yield* parts(12, 2 ** 20);
    };
    await expect(store.write("denied part", sabotaged())).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    const failing = async function* () {
      yield* parts(20, 2 ** 20);
      throw new Error("the source failed");
    };
    await origin.reset();
    await expect(store.write("failed", failing())).rejects.toThrow("the source failed");
    // The answer to AbortMultipartUpload, and to nothing else here.
    expect((await origin.stats()).statuses["204"]).toBe(1);
    await expect(store.stat("failed")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });
});

it("loads the SDK when it is opened, and not before", () => {
  const script = `
    const { openStore } = await import(${JSON.stringify(new URL("../../../src/storage/open-store.ts", import.meta.url).href)});
    const { Module } = await import("node:module");
    const loaded = () => Object.keys(Module._cache).some((file) => file.includes("@aws-sdk"));
    for (const uri of ["file:///x", "https://h/x", "memory://x"]) await openStore(uri);
    const before = loaded();
    await openStore("s3://b", { s3: { region: "us-east-1" } });
    console.log(before, loaded());`;
  const tsx = createRequire(import.meta.url).resolve("tsx");
  const out = execFileSync(process.execPath, ["--no-warnings", "--import", tsx, "--input-type=module", "-e", script], { encoding: "utf8" });
  expect(out.trim()).toBe("false true");
});

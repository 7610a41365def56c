import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { type IncomingMessage, request } from "node:http";
import { request as tlsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { S3Client } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { decodeChunked } from "../../support/origin/body.js";
import { connectOrigin, type Origin, startOrigin } from "../../support/origin/index.js";
import { compareUtf8 } from "../../support/origin/objects.js";
import { Line, Shaper, seededRandom } from "../../support/origin/shaping.js";

const DATA = Uint8Array.from({ length: 3_000_000 }, (_, i) => (i * 7) & 255);
interface Presigner {
  presign(request: object, options: object): Promise<{ query?: object }>;
}

let origin: Origin;

beforeAll(async () => {
  origin = await startOrigin({ anonymousRead: true });
  await origin.put("b", "data", DATA);
  await origin.put("b", "empty", new Uint8Array(0));
});
afterAll(() => origin.close());
beforeEach(() => origin.reset());
afterEach(async () => {
  await origin.shape({});
  await origin.clearFaults();
});

const at = (path: string, headers: Record<string, string> = {}, method = "GET") =>
  fetch(`${origin.endpoint}/b/${path}`, { method, headers });
const bytesOf = async (response: Response) => new Uint8Array(await response.arrayBuffer());
const codeOf = async (response: Response) => /<Code>(\w+)<\/Code>/.exec(await response.text())?.[1];

test("serves ranges: closed, open, suffix, past the end", async () => {
  for (const [range, begin, end] of [
    ["bytes=0-0", 0, 1],
    ["bytes=5-99", 5, 100],
    ["bytes=2999990-", 2_999_990, 3_000_000],
    ["bytes=-10", 2_999_990, 3_000_000],
    ["bytes=2999999-9999999", 2_999_999, 3_000_000],
    ["bytes=-9999999", 0, 3_000_000],
  ] as const) {
    const response = await at("data", { range });
    expect([response.status, response.headers.get("content-range")]).toEqual([206, `bytes ${begin}-${end - 1}/3000000`]);
    expect(Buffer.compare(await bytesOf(response), DATA.subarray(begin, end))).toBe(0);
  }
  for (const range of ["bytes=3000000-", "bytes=3000000-3000001", "bytes=-0"]) {
    const response = await at("data", { range });
    expect([response.status, response.headers.get("content-range"), await codeOf(response)]).toEqual([
      416,
      "bytes */3000000",
      "InvalidRange",
    ]);
  }
  expect((await at("empty", { range: "bytes=0-" })).status).toBe(416);
  for (const range of ["bytes=9-5", "bytes=0-1,4-5", "lines=1-2", "bytes=-"]) expect((await at("data", { range })).status).toBe(200);
  const { ranges, keys, bytesSent, kinds } = await origin.stats();
  expect(ranges[1]).toEqual({ key: "b/data", begin: 5, end: 100 });
  expect(keys["b/data"]).toEqual({ gets: 10, bytes: bytesSent });
  expect(kinds.get).toBe(14);
});

test("HEAD and conditional requests", async () => {
  const head = await at("data", {}, "HEAD");
  const etag = head.headers.get("etag")!;
  const modified = head.headers.get("last-modified")!;
  const before = new Date(Date.parse(modified) - 1000).toUTCString();
  expect([head.status, head.headers.get("content-length")]).toEqual([200, "3000000"]);
  const statusOf = async (headers: Record<string, string>) => (await at("data", { range: "bytes=0-3", ...headers })).status;
  expect(await statusOf({ "if-match": etag })).toBe(206);
  expect(await statusOf({ "if-match": `"x", ${etag}` })).toBe(206);
  expect(await statusOf({ "if-match": '"x"' })).toBe(412);
  expect(await statusOf({ "if-none-match": etag })).toBe(304);
  expect(await statusOf({ "if-none-match": '"x"' })).toBe(206);
  expect(await statusOf({ "if-unmodified-since": before })).toBe(412);
  expect(await statusOf({ "if-unmodified-since": modified })).toBe(206);
  expect(await statusOf({ "if-match": etag, "if-unmodified-since": before })).toBe(206);
  expect(await statusOf({ "if-modified-since": modified })).toBe(304);
  expect(await statusOf({ "if-modified-since": before })).toBe(206);
  expect(await statusOf({ "if-range": etag })).toBe(206);
  expect(await statusOf({ "if-range": '"x"' })).toBe(200);
  expect(await statusOf({ "if-range": modified })).toBe(206);
  expect(await statusOf({ "if-range": before })).toBe(200);
});

test("error answers carry S3's codes", async () => {
  expect(await codeOf(await at("none"))).toBe("NoSuchKey");
  expect(await codeOf(await fetch(`${origin.endpoint}/none/x`))).toBe("NoSuchBucket");
  expect(await codeOf(await at("x", {}, "PUT"))).toBe("AccessDenied");
  expect(await codeOf(await at("data", { authorization: "AWS4-HMAC-SHA256 what" }))).toBe("AuthorizationHeaderMalformed");
  expect(await codeOf(await at("%zz"))).toBe("InvalidArgument");
  expect(await codeOf(await at("data", {}, "POST"))).toBe("AccessDenied");
  expect(await codeOf(await fetch(`${origin.endpoint}/b`))).toBe("NotImplemented");
  expect(await codeOf(await fetch(`${origin.endpoint}/b?list-type=2&max-keys=x`))).toBe("InvalidArgument");
  expect(await codeOf(await fetch(`${origin.endpoint}/b?list-type=2&continuation-token=*`))).toBe("InvalidArgument");
  expect((await origin.stats()).statuses).toEqual({ 403: 2, 404: 2, 400: 3, 501: 1 });
});

test("what is denied is denied, and a plain web server can be played", async () => {
  await origin.shape({ deny: ["b/da"] });
  expect(await codeOf(await at("data"))).toBe("AccessDenied");
  expect((await at("empty")).status).toBe(200);
  await origin.shape({ without: ["etag", "ranges", "head"] });
  const response = await at("data", { range: "bytes=1-2" });
  expect([response.status, response.headers.get("etag"), response.headers.get("accept-ranges")]).toEqual([200, null, null]);
  await response.body!.cancel();
  expect((await at("data", {}, "HEAD")).status).toBe(405);
});

test("presigned URLs, within their time and as signed", async () => {
  const { accessKeyId, secretAccessKey } = origin.credentials;
  const s3 = new S3Client({ endpoint: origin.endpoint, region: origin.region, credentials: { accessKeyId, secretAccessKey } });
  const signer = (await s3.config.signer()) as unknown as Presigner;
  const presign = async (expiresIn: number, signingDate = new Date()): Promise<string> => {
    const { hostname, port, host } = new URL(origin.endpoint);
    const plain = {
      method: "GET",
      protocol: "http:",
      hostname,
      port: Number(port),
      path: "/b/data",
      query: {},
      headers: { host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD" },
    };
    const signed = await signer.presign({ ...plain, clone: () => plain }, { expiresIn, signingDate });
    return `${origin.endpoint}/b/data?${new URLSearchParams(signed.query as Record<string, string>)}`;
  };
  const get = (url: string) => fetch(url, { headers: { range: "bytes=0-9" } });
  expect((await get(await presign(60))).status).toBe(206);
  expect((await get(await presign(60, new Date(Date.now() - 30_000)))).status).toBe(206);
  expect(await codeOf(await get(await presign(60, new Date(Date.now() - 90_000))))).toBe("AccessDenied");
  expect(await codeOf(await get((await presign(60)).replace("/data", "/empty")))).toBe("SignatureDoesNotMatch");
  expect(await codeOf(await get(`${origin.endpoint}/b/data?X-Amz-Signature=00`))).toBe("AuthorizationQueryParametersError");
  s3.destroy();
});

test("virtual-host style", async () => {
  const { port } = new URL(origin.endpoint);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ host: "127.0.0.1", port, path: "/empty", headers: { host: `b.localhost:${port}` }, agent: false }, resolve)
      .on("error", reject)
      .end();
  });
  response.resume();
  expect([response.statusCode, response.headers["content-length"]]).toEqual([200, "0"]);
});

test("planned faults: in order, filtered, as often as said", async () => {
  await origin.shape({ retryAfterSeconds: 7 });
  await origin.failNext(2, 503);
  await origin.failNext(1, "ExpiredToken", { kind: "get", prefix: "da" });
  const first = await at("data");
  expect([first.status, first.headers.get("retry-after"), await codeOf(first)]).toEqual([503, "7", "SlowDown"]);
  expect((await at("data", {}, "HEAD")).status).toBe(503);
  expect((await at("empty")).status).toBe(200);
  expect(await codeOf(await at("data"))).toBe("ExpiredToken");
  expect((await at("data", {}, "HEAD")).status).toBe(200);
  await origin.failNext(1, 418);
  expect((await at("empty")).status).toBe(418);
  expect((await origin.stats()).faults).toBe(4);
});

test("resets, hangs, stalls and truncated bodies", async () => {
  await origin.failNext(1, "reset");
  await expect(at("data")).rejects.toMatchObject({ cause: { code: "ECONNRESET" } });
  await origin.failNext(1, "hang");
  await expect(fetch(`${origin.endpoint}/b/data`, { signal: AbortSignal.timeout(50) })).rejects.toMatchObject({ name: "TimeoutError" });
  await origin.failNext(1, "truncate");
  const truncated = await at("data");
  expect(truncated.headers.get("content-length")).toBe("3000000");
  await expect(bytesOf(truncated)).rejects.toThrow("terminated");
  await origin.failNext(1, "stall");
  const stalled = await fetch(`${origin.endpoint}/b/data`, { signal: AbortSignal.timeout(200) });
  await expect(bytesOf(stalled)).rejects.toMatchObject({ name: "TimeoutError" });
  const { keys, statuses, kinds } = await origin.stats();
  expect(keys["b/data"]).toEqual({ gets: 2, bytes: 3_000_000 });
  expect([statuses, kinds.get]).toEqual([{ 200: 2 }, 4]);
});

test("fault rates are drawn from the seed", async () => {
  const draws = async (seed: number) => {
    await origin.shape({ errorRate: 0.3, errorStatus: 500, seed });
    const statuses = [];
    for (let i = 0; i < 40; i++) statuses.push((await at("empty")).status);
    return statuses;
  };
  const first = await draws(5);
  expect(await draws(5)).toEqual(first);
  expect(await draws(6)).not.toEqual(first);
  expect(first.filter((status) => status === 500).length).toBeGreaterThan(3);
});

test("a shaped body is whole, and another process can hold the controls", async () => {
  const other = connectOrigin(origin);
  await other.shape({ firstByteMs: { median: 2, sigma: 0.5 }, connectionBytesPerSecond: 300e6, totalBytesPerSecond: 400e6 });
  const bodies = await Promise.all([1, 2, 3].map(async () => bytesOf(await at("data"))));
  for (const body of bodies) expect(Buffer.compare(body, DATA)).toBe(0);
  const stats = await other.stats();
  expect([stats.bytesSent, stats.inFlight]).toEqual([9_000_000, 0]);
  expect(stats.connections).toBeGreaterThan(0);
  expect(stats.inFlightMax).toBeGreaterThan(1);
});

test("bandwidth: bytes are due when the line has carried them", () => {
  const line = new Line();
  line.open(1000);
  expect(line.due(100, 1000, 1000)).toBe(1100);
  expect(line.due(100, 1000, 1101)).toBe(1200);
  expect(line.due(100, 1000, 2000)).toBe(2090);
  line.open(5000);
  expect(line.due(100, 1000, 5000)).toBe(5100);
  const shaper = new Shaper();
  shaper.set({ connectionBytesPerSecond: 1e6, totalBytesPerSecond: 2e6 });
  const [a, b] = [new Line(), new Line()];
  for (const opened of [a, b]) opened.open(100_000);
  const last = [a, b, a, b].map((connection) => shaper.delay(connection, 10_000, 100_000)).at(-1)!;
  expect(last).toBeCloseTo(20, 5);
});

test("log-normal latency has its median, and rates their share", () => {
  const shaper = new Shaper();
  shaper.set({ firstByteMs: { median: 30, sigma: 0.5 }, truncateRate: 0.2, stallRate: 0.1, seed: 3 });
  const draws = Array.from({ length: 4001 }, () => shaper.latency()).sort((x, y) => x - y);
  expect(draws[2000]).toBeGreaterThan(28);
  expect(draws[2000]).toBeLessThan(32);
  const faults = Array.from({ length: 2000 }, () => shaper.fault("get", "k"));
  expect(Math.abs(faults.filter((fault) => fault === "truncate").length - 400)).toBeLessThan(80);
  expect(Math.abs(faults.filter((fault) => fault === "stall").length - 200)).toBeLessThan(60);
  expect(shaper.fault("head", "k")).toBeUndefined();
  expect(seededRandom(1)()).not.toBe(seededRandom(2)());
});

test("keys compare as UTF-8 bytes", () => {
  const words = ["", "a", "ab", "é", "\u{ffff}", "\u{e000}", "\u{1f600}", "\u{1f601}", "z", "日"];
  for (const a of words) for (const b of words) expect(Math.sign(compareUtf8(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
});

test("aws-chunked bodies: signed chunks, trailers, and what is cut short", () => {
  const body = Buffer.from("3;chunk-signature=00\r\nabc\r\n2\r\nde\r\n0\r\nx-amz-checksum-crc32:AAAA\r\n\r\n");
  const { bytes, trailers } = decodeChunked(body);
  expect([bytes.toString(), [...trailers]]).toEqual(["abcde", [["x-amz-checksum-crc32", "AAAA"]]]);
  for (const cut of [1, 10, 24, 30]) expect(() => decodeChunked(body.subarray(0, cut))).toThrow("number of bytes");
});

test("TLS with a certificate of its own, and a directory of files as buckets", async () => {
  const root = await mkdtemp(join(tmpdir(), "origin-root-"));
  await mkdir(join(root, "files/sub"), { recursive: true });
  await writeFile(join(root, "files/sub/x.bin"), DATA);
  await writeFile(join(root, "not-a-bucket"), "x");
  await using served = await startOrigin({ tls: true, root, anonymousRead: true });
  const get = (path: string, headers: Record<string, string>) =>
    new Promise<Buffer>((resolve, reject) => {
      const call = tlsRequest(`${served.endpoint}${path}`, { ca: served.ca, agent: false, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => resolve(Buffer.concat(chunks)));
      });
      call.on("error", reject).end();
    });
  expect(Buffer.compare(await get("/files/sub/x.bin", { range: "bytes=1000-2500000" }), DATA.subarray(1000, 2_500_001))).toBe(0);
  expect((await get("/files?list-type=2", {})).toString()).toContain("<Key>sub/x.bin</Key>");
  await rm(root, { recursive: true });
});

test("closing ends the process, twice over", async () => {
  const other = await startOrigin();
  await other.close();
  await other.close();
  expect(() => process.kill(other.pid, 0)).toThrow("ESRCH");
  await expect(other.stats()).rejects.toThrow("ECONNREFUSED");
});

import type { Socket } from "node:net";
import { afterEach, describe, expect, it, vi } from "vitest";
import { MillraceError } from "../../../src/errors.js";
import { HttpStore } from "../../../src/storage/http-store.js";
import type { HttpTimeouts } from "../../../src/storage/http-timeouts.js";
import { networkError, statusError } from "../../../src/storage/network-errors.js";
import type { StoredObject } from "../../../src/storage/store.js";
import { IN_TIME } from "../../support/in-time.js";
import { type RawServer, rawServer, response } from "../../support/raw-server.js";

const open: (RawServer | HttpStore)[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function serve(
  answer: (socket: Socket, request: string, count: number) => void,
  timeouts: HttpTimeouts = {},
): Promise<{ server: RawServer; store: HttpStore }> {
  const server = await rawServer(answer);
  const store = new HttpStore(server.url, timeouts);
  open.push(store, server);
  return { server, store };
}

const OBJECT: StoredObject = { path: "x", size: 10, etag: '"v1"', lastModified: undefined };
const BODY = "0123456789";
const HEAD_200 = { "content-length": 10, etag: '"v1"' };
/** A correct answer to bytes 2 to 6. */
const PART = { "content-length": 4, "content-range": "bytes 2-5/10", etag: '"v1"' };

describe("HttpStore.readInto", () => {
  const read = async (
    answer: (socket: Socket, request: string, count: number) => void,
    object = OBJECT,
    begin = 2,
    length = 4,
    timeouts: HttpTimeouts = {},
  ) => {
    const { server, store } = await serve(answer, timeouts);
    const target = new Uint8Array(length).fill(0x2e);
    const progress = { received: 0 };
    const error = await store.readInto(object, begin, [target], { progress }).then(
      () => undefined,
      (e: MillraceError) => e,
    );
    return { text: Buffer.from(target).toString(), error, requests: server.requests, progress };
  };
  const answering =
    (status: number, headers: Record<string, string | number>, body = "") =>
    (socket: Socket) =>
      void socket.write(response(status, headers, body));

  it("asks for the range of this version, unencoded", async () => {
    const { text, requests, error } = await read(answering(206, PART, "2345"));
    expect(error).toBeUndefined();
    expect(text).toBe("2345");
    expect(requests[0]).toMatch(/^GET \/x HTTP/);
    expect(requests[0]).toMatch(/\r\nrange: bytes=2-5\r\n/);
    expect(requests[0]).toMatch(/\r\nif-match: "v1"/);
    expect(requests[0]).toMatch(/\r\naccept-encoding: identity/);
  });

  it("makes its condition of what the version is made of", async () => {
    const modified = "Tue, 01 Jul 2025 10:00:00 GMT";
    const { error, requests } = await read(answering(206, { ...PART, etag: 'W/"v1"', "last-modified": modified }, "2345"), {
      ...OBJECT,
      etag: modified,
    });
    expect(error).toBeUndefined();
    expect(requests[0]).toContain(`if-unmodified-since: ${modified}`);
    const weak = await read(answering(206, { ...PART, etag: 'W/"v1"' }, "2345"), { ...OBJECT, etag: 'W/"v1"' });
    expect(weak.error).toBeUndefined();
    expect(weak.requests[0]).not.toMatch(/if-/);
    const { etag: _, ...bare } = PART;
    expect((await read(answering(206, bare, "2345"), { ...OBJECT, etag: "size 10" })).error).toBeUndefined();
  });

  it("takes a 200 for the whole object, and for nothing else", async () => {
    const whole = await read(answering(200, HEAD_200, BODY), OBJECT, 0, 10);
    expect(whole.text).toBe(BODY);
    const part = await read(answering(200, HEAD_200, BODY));
    expect(part.error).toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringContaining("does not support ranged requests") });
    expect(part.text).toBe("....");
    const start = await read(answering(200, HEAD_200, BODY), OBJECT, 0, 4);
    expect(start.error).toMatchObject({ code: "MILLRACE_CONFIG" });
  });

  it("takes a whole object in chunks, of unknown length", async () => {
    const chunked = "4\r\n0123\r\n6\r\n456789\r\n0\r\n\r\n";
    const { text, error } = await read(answering(200, { "transfer-encoding": "chunked", etag: '"v1"' }, chunked), OBJECT, 0, 10);
    expect(error).toBeUndefined();
    expect(text).toBe(BODY);
    const short = await read(answering(200, { "transfer-encoding": "chunked", etag: '"v1"' }, "4\r\n0123\r\n0\r\n\r\n"), OBJECT, 0, 10);
    expect(short.error).toMatchObject({ code: "MILLRACE_UNAVAILABLE", message: expect.stringContaining("after 4 of 10 bytes") });
    expect(short.progress.received).toBe(4);
    const long = await read(
      answering(200, { "transfer-encoding": "chunked", etag: '"v1"' }, "c\r\n0123456789ab\r\n0\r\n\r\n"),
      OBJECT,
      0,
      10,
    );
    expect(long.error).toMatchObject({ code: "MILLRACE_UNAVAILABLE", message: expect.stringContaining("more bytes") });
    expect(long.text).toBe("..........");
  });

  it.each([
    ["another etag", 206, { ...PART, etag: '"v2"' }, "MILLRACE_CHANGED"],
    ["another size", 206, { ...PART, "content-range": "bytes 2-5/11" }, "MILLRACE_CHANGED"],
    ["another size, whole", 200, { "content-length": 4, etag: '"v1"' }, "MILLRACE_CHANGED"],
    ["412", 412, { "content-length": 4 }, "MILLRACE_CHANGED"],
    ["416", 416, { "content-length": 4 }, "MILLRACE_CHANGED"],
    ["another range", 206, { ...PART, "content-range": "bytes 3-6/10" }, "MILLRACE_UNAVAILABLE"],
    ["no range", 206, { "content-length": 4, etag: '"v1"' }, "MILLRACE_UNAVAILABLE"],
    ["a wrong length", 206, { ...PART, "content-length": 5 }, "MILLRACE_UNAVAILABLE"],
    ["an encoding", 206, { ...PART, "content-encoding": "gzip" }, "MILLRACE_CONFIG"],
    ["401", 401, { "content-length": 4 }, "MILLRACE_PERMISSION"],
    ["403", 403, { "content-length": 4 }, "MILLRACE_PERMISSION"],
    ["404", 404, { "content-length": 4 }, "MILLRACE_NOT_FOUND"],
    ["400", 400, { "content-length": 4 }, "MILLRACE_CONFIG"],
    ["408", 408, { "content-length": 4 }, "MILLRACE_UNAVAILABLE"],
    ["500", 500, { "content-length": 4 }, "MILLRACE_UNAVAILABLE"],
  ] as const)("%s", async (_name, status, headers, code) => {
    const { error, text, progress } = await read(answering(status, headers, "2345"));
    expect(error).toMatchObject({ code, range: { begin: 2, end: 6 } });
    expect(text).toBe("....");
    expect(progress.received).toBe(0);
  });

  it("passes Retry-After on", async () => {
    const { error } = await read(answering(503, { "content-length": 0, "retry-after": 7 }));
    expect(error).toMatchObject({ code: "MILLRACE_UNAVAILABLE", retryAfterMs: 7000 });
  });

  it("ends at the head of a refusal whose body never ends", async () => {
    const { error } = await read((socket) => void socket.write(response(404, { "content-length": 100_000 }, "x".repeat(20_000))));
    expect(error).toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    const cut = await read((socket) => void socket.end(response(404, { "content-length": 100 }, "gone")));
    expect(cut.error).toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });

  it("a truncated body, a reset and a silent or stalled server may be tried again", async () => {
    const truncated = await read((socket) => void socket.end(response(206, PART, "23")));
    expect(truncated.error).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(truncated.text).toBe("23..");
    expect(truncated.progress.received).toBe(2);
    const reset = await read((socket) => void socket.resetAndDestroy());
    expect(reset.error).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    const hasty = { headMs: 300, stallMs: 300 };
    const silent = await read(() => undefined, OBJECT, 2, 4, hasty);
    expect(silent.error).toMatchObject({ code: "MILLRACE_TIMEOUT", message: expect.stringContaining("no answer in time") });
    const stalled = await read((socket) => void socket.write(response(206, PART, "234")), OBJECT, 2, 4, hasty);
    expect(stalled.error).toMatchObject({ code: "MILLRACE_TIMEOUT", message: expect.stringContaining("stalled") });
    expect(stalled.progress.received).toBe(3);
  });

  it("no server at all may be tried again", async () => {
    const { server, store } = await serve(() => undefined);
    await server.close();
    await expect(store.readInto(OBJECT, 0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    await expect(store.stat("x")).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
  });

  it("drops the connection of a claim that lost, and keeps that of a read that ended", async () => {
    const sockets = new Set<Socket>();
    const { store } = await serve((socket) => {
      sockets.add(socket);
      socket.write(response(206, PART, "2345"));
    });
    for (let i = 0; i < 3; i++) {
      await store.readInto(OBJECT, 2, [new Uint8Array(4)]);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(sockets.size).toBe(1);
    await store.readInto(OBJECT, 2, [new Uint8Array(4)], { claim: () => false });
    await store.readInto(OBJECT, 2, [new Uint8Array(4)]);
    expect(sockets.size).toBe(2);
  });

  it("an aborted read drops its connection, before and after it was sent", async () => {
    let closed = 0;
    const { server, store } = await serve((socket) => {
      socket.once("close", () => closed++);
      controller.abort();
    });
    const controller = new AbortController();
    await expect(store.readInto(OBJECT, 2, [new Uint8Array(4)], { signal: controller.signal })).rejects.toMatchObject({
      code: "MILLRACE_ABORTED",
    });
    const early = new AbortController();
    const reading = store.readInto(OBJECT, 2, [new Uint8Array(4)], { signal: early.signal });
    early.abort();
    await expect(reading).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await vi.waitFor(() => expect(closed).toBe(1), IN_TIME);
    expect(server.requests).toHaveLength(1);
  });

  it("is MILLRACE_CLOSED after close", async () => {
    const { store } = await serve(() => undefined);
    await store.close();
    await expect(store.readInto(OBJECT, 0, [new Uint8Array(1)])).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    await expect(store.stat("x")).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
  });
});

describe("HttpStore redirects", () => {
  it.each([301, 302, 303, 307, 308])("follows %i for stat and reads, to another server too", async (status) => {
    const target = await serve((socket, request) =>
      socket.write(request.startsWith("HEAD") ? response(200, HEAD_200) : response(206, PART, "2345")),
    );
    const { store } = await serve((socket) =>
      socket.write(response(status, { location: `${target.server.url}/moved?sig=1`, "content-length": 0 })),
    );
    const object = await store.stat("x");
    expect(object).toMatchObject({ path: "x", size: 10, etag: '"v1"' });
    await store.readInto(object, 2, [new Uint8Array(4)]);
    expect(target.server.requests.map((request) => request.split(" HTTP")[0])).toEqual(["HEAD /moved?sig=1", "GET /moved?sig=1"]);
  });

  it.each([
    ["a circle", (url: string) => ({ location: `${url}/x` }), "MILLRACE_CONFIG", /more than 5 redirects/],
    ["no URL", () => ({ location: "http://" }), "MILLRACE_CONFIG", /no valid URL/],
    ["another scheme", () => ({ location: "ftp://host/x" }), "MILLRACE_CONFIG", /to ftp:/],
    ["nowhere", () => ({}), "MILLRACE_CONFIG", /HTTP 307/],
  ] as const)("%s is refused", async (_name, headers, code, message) => {
    let url = "";
    const { server, store } = await serve((socket) => socket.write(response(307, { ...headers(url), "content-length": 0 })));
    url = server.url;
    const error = { code, message: expect.stringMatching(message) };
    await expect(store.readInto(OBJECT, 2, [new Uint8Array(4)])).rejects.toMatchObject(error);
    if (_name !== "nowhere") await expect(store.stat("x")).rejects.toMatchObject(error);
  });
});

describe("HttpStore.stat", () => {
  it("asks HEAD, and the first byte where HEAD is refused", async () => {
    for (const status of [403, 405, 501]) {
      const { server, store } = await serve((socket, request) =>
        socket.write(
          request.startsWith("HEAD")
            ? response(status, { "content-length": 0 })
            : response(206, { "content-length": 1, "content-range": "bytes 0-0/10", etag: '"v1"' }, "0"),
        ),
      );
      expect(await store.stat("x")).toMatchObject({ size: 10, etag: '"v1"' });
      expect(server.requests[1]).toMatch(/\r\nrange: bytes=0-0/);
    }
  });

  it("knows an empty object by the 416 to its first byte", async () => {
    const { store } = await serve((socket, request) =>
      socket.write(
        request.startsWith("HEAD")
          ? response(405, { "content-length": 0 })
          : response(416, { "content-range": "bytes */0", "content-length": 0, etag: '"v1"' }),
      ),
    );
    expect((await store.stat("x")).size).toBe(0);
  });

  it("names the version by what there is", async () => {
    const modified = "Tue, 01 Jul 2025 10:00:00 GMT";
    const cases: [Record<string, string>, string][] = [
      [{ etag: '"a"', "last-modified": modified }, '"a"'],
      [{ etag: 'W/"a"', "last-modified": modified }, modified],
      [{ etag: 'W/"a"' }, 'W/"a"'],
      [{}, "size 10"],
    ];
    for (const [headers, etag] of cases) {
      const { store } = await serve((socket) => socket.write(response(200, { "content-length": 10, ...headers })));
      const object = await store.stat("x");
      expect(object.etag).toBe(etag);
      expect(object.lastModified).toEqual("last-modified" in headers ? new Date(modified) : undefined);
    }
  });

  it("refuses an object of unknown size, and says what is missing or forbidden, without the query", async () => {
    const { store } = await serve((socket) => socket.end(response(200, { connection: "close" })));
    await expect(store.stat("x?sig=secret")).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.not.stringContaining("secret"),
    });
    const gone = await serve((socket) => socket.write(response(404, { "content-length": 0 })));
    await expect(gone.store.stat("x?sig=secret")).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      message: expect.not.stringContaining("secret"),
    });
    const denied = await serve((socket) => socket.write(response(403, { "content-length": 0 })));
    await expect(denied.store.stat("x")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
  });

  it("is aborted while it waits", async () => {
    const controller = new AbortController();
    const { store } = await serve(() => controller.abort());
    await expect(store.stat("x", { signal: controller.signal })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  });

  it("cannot list", async () => {
    const { store } = await serve(() => undefined);
    await expect(store.list("a?sig=secret")[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(/\/a: an http store cannot be listed: give the URLs as a list or a brace pattern/),
    });
  });
});

describe("networkError", () => {
  it.each([
    ["UND_ERR_CONNECT_TIMEOUT", "MILLRACE_TIMEOUT"],
    ["ETIMEDOUT", "MILLRACE_TIMEOUT"],
    ["ECONNRESET", "MILLRACE_UNAVAILABLE"],
    ["ENOTFOUND", "MILLRACE_UNAVAILABLE"],
    ["DEPTH_ZERO_SELF_SIGNED_CERT", "MILLRACE_CONFIG"],
    ["CERT_HAS_EXPIRED", "MILLRACE_CONFIG"],
    ["ERR_TLS_CERT_ALTNAME_INVALID", "MILLRACE_CONFIG"],
  ])("%s is %s", (code, expected) => {
    const cause = Object.assign(new Error(""), { code });
    expect(networkError(cause, { uri: "https://h/x?sig=1" })).toMatchObject({ code: expected, uri: "https://h/x", cause });
  });
  it("keeps what is a MillraceError, and joins headers that came twice", () => {
    const error = new MillraceError("MILLRACE_CORRUPT", "x");
    expect(networkError(error, { uri: "x" })).toBe(error);
    const refusal = { status: 503, headers: { "retry-after": ["3"] }, body: "" };
    expect(statusError(refusal, { uri: "x" })).toMatchObject({ retryAfterMs: 3000 });
  });
});

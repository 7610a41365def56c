import { createServer } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { afterEach, describe, expect, it, vi } from "vitest";
import { HttpTransports, rangeGet } from "../../../src/storage/http-get.js";
import type { HttpTimeouts } from "../../../src/storage/http-timeouts.js";
import { RangeAnswer, type RangeRequest } from "../../../src/storage/range-answer.js";
import { RangeClient } from "../../../src/storage/range-client.js";
import type { ReadOptions } from "../../../src/storage/store.js";
import { IN_TIME } from "../../support/in-time.js";
import { selfSigned } from "../../support/origin/certificate.js";
import { type RawServer, rawServer, response } from "../../support/raw-server.js";

const SIZE = 200_000;
const BODY = Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => (i * 7) >>> 3));

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  for (const one of open.splice(0)) await one.close();
});

type Answer = (socket: Socket, request: string, count: number) => void;

async function serve(answer: Answer, timeouts: HttpTimeouts = {}): Promise<{ server: RawServer; transports: HttpTransports }> {
  const server = await rawServer(answer);
  const transports = new HttpTransports(timeouts);
  open.push(transports, server);
  return { server, transports };
}

function requestOf(origin: string, begin: number, end: number, headers: Record<string, string> = {}): RangeRequest {
  const object = { path: "x", size: SIZE, etag: '"v"', lastModified: undefined };
  const versionOf: RangeRequest["versionOf"] = ({ etag }) => etag as string | undefined;
  const range = { begin, end };
  return { uri: `${origin}/x`, origin, path: "/x", headers: { range: `bytes=${begin}-${end - 1}`, ...headers }, range, object, versionOf };
}

function headOf(begin: number, end: number, more: Record<string, string | number> = {}): string {
  return response(206, { "content-length": end - begin, "content-range": `bytes ${begin}-${end - 1}/${SIZE}`, etag: '"v"', ...more });
}

function write206(socket: Socket, begin: number, end: number, more: Record<string, string | number> = {}): void {
  socket.write(headOf(begin, end, more));
  socket.write(BODY.subarray(begin, end));
}

/** Answers any range properly. */
const proper: Answer = (socket, request) => {
  const [, first, last] = /range: bytes=(\d+)-(\d+)/.exec(request)!;
  write206(socket, Number(first), Number(last) + 1);
};

/** What a read resolves or rejects to, and the bytes of its target. */
async function get(transports: HttpTransports, origin: string, begin: number, end: number, options: ReadOptions = {}) {
  const target = new Uint8Array(new SharedArrayBuffer(end - begin)).fill(0xee);
  const outcome: unknown = await rangeGet(transports, requestOf(origin, begin, end), [target], options).catch((error: unknown) => error);
  return { outcome, target: Buffer.from(target) };
}

describe("RangeClient: bytes", () => {
  it.each([
    ["one", [150_000]],
    ["many, some empty, some tiny", [0, 1, 65_536, 0, 7, 3, 60_000, 24_453, 0]],
    ["tiny ones only", Array.from({ length: 500 }, (_, i) => i % 7)],
  ])("fills shared memory and not a byte beside it: %s", async (_name, lengths) => {
    const { server, transports } = await serve(proper);
    const total = lengths.reduce((sum, length) => sum + length, 0);
    const slab = new Uint8Array(new SharedArrayBuffer(total + 20)).fill(0xee);
    let at = 10;
    const targets = lengths.map((length) => {
      at += length;
      return slab.subarray(at - length, at);
    });
    const progress = { received: 0 };
    expect(await rangeGet(transports, requestOf(server.url, 100, 100 + total), targets, { progress })).toBeUndefined();
    expect(Buffer.from(slab.subarray(10, 10 + total)).equals(BODY.subarray(100, 100 + total))).toBe(true);
    expect([...slab.subarray(0, 10), ...slab.subarray(-10)]).toEqual(new Array(20).fill(0xee));
    expect(progress.received).toBe(total);
    expect(server.requests).toHaveLength(1);
  });

  it("does not touch the targets once an abort has settled, though the server goes on sending", async () => {
    const half = 100_000;
    const sent: Socket[] = [];
    const { server, transports } = await serve((socket) => {
      sent.push(socket);
      socket.write(headOf(0, SIZE));
      socket.write(BODY.subarray(0, half));
    });
    const controller = new AbortController();
    const target = new Uint8Array(SIZE);
    const progress = { received: 0 };
    const reading = rangeGet(transports, requestOf(server.url, 0, SIZE), [target], { signal: controller.signal, progress });
    while (progress.received < half) await sleep(1);
    sent[0]!.write(BODY.subarray(half));
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    target.fill(0xee);
    await vi.waitFor(() => expect(sent[0]!.destroyed).toBe(true), IN_TIME);
    await sleep(20);
    expect(target.every((byte) => byte === 0xee)).toBe(true);
  });

  it("refuses more bytes than the length said", async () => {
    const { server, transports } = await serve((socket) => void socket.write(`${headOf(0, 10)}0123456789x`));
    const { outcome, target } = await get(transports, server.url, 0, 10);
    expect(outcome).toMatchObject({ code: "MILLRACE_UNAVAILABLE", message: expect.stringContaining("more bytes") });
    expect(target).toEqual(Buffer.alloc(10, 0xee));
  });
});

describe("RangeClient: heads", () => {
  it("passes over interim answers and takes a head in pieces", async () => {
    const { server, transports } = await serve((socket) => {
      socket.setNoDelay();
      const text = `HTTP/1.1 100 Continue\r\n\r\n${response(103, { link: "x" })}${headOf(0, 10)}`;
      socket.write(text.slice(0, 60));
      setTimeout(() => socket.write(text.slice(60, 90)), 10);
      setTimeout(() => socket.write(Buffer.concat([Buffer.from(text.slice(90)), BODY.subarray(0, 10)])), 20);
    });
    const { outcome, target } = await get(transports, server.url, 0, 10);
    expect(outcome).toBeUndefined();
    expect(target).toEqual(BODY.subarray(0, 10));
    expect(server.requests).toHaveLength(1);
  });

  it.each([
    ["another protocol", "SSH-2.0-OpenSSH_9.6\r\n"],
    ["two lengths", `HTTP/1.1 206 P\r\ncontent-length: 10\r\ncontent-length: 11\r\n\r\n`],
    ["another protocol from here", "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"],
    ["a head without end", `HTTP/1.1 206 P\r\nx: ${"x".repeat(70_000)}`],
    ["no length", `HTTP/1.1 206 P\r\ncontent-range: bytes 0-9/${SIZE}\r\netag: "v"\r\n\r\n0123456789`],
  ])("leaves what it does not take to undici, with nothing claimed or written: %s", async (_name, text) => {
    const { server, transports } = await serve((socket, _request, count) => {
      if (count === 1) socket.write(text);
      else write206(socket, 0, 10);
    });
    const claims: number[] = [];
    const { outcome, target } = await get(transports, server.url, 0, 10, {
      claim: () => claims.push(server.requests.length) > 0,
    });
    expect(outcome).toBeUndefined();
    expect(target).toEqual(BODY.subarray(0, 10));
    expect(claims).toEqual([2]);
  });

  it("takes from undici what it takes itself: a refusal, a claim that lost, an abort and a broken connection", async () => {
    const odd = "HTTP/1.1 206 P\r\ncontent-range: bytes 0-9/*\r\n\r\n";
    const then = (text: string, end = false) =>
      serve((socket, _request, count) => {
        if (count === 1) socket.write(odd);
        else if (end) socket.end(text);
        else socket.write(text);
      });
    const refusing = await then(response(404, { "content-length": 4 }, "gone"));
    expect((await get(refusing.transports, refusing.server.url, 0, 10)).outcome).toMatchObject({ status: 404, body: "gone" });
    const endless = await then(response(404, { "content-length": 10_000 }, "x".repeat(9000)));
    expect((await get(endless.transports, endless.server.url, 0, 10)).outcome).toMatchObject({ status: 404, body: "x".repeat(8192) });
    const cut = await then(response(404, { "content-length": 10 }, "gone"), true);
    expect((await get(cut.transports, cut.server.url, 0, 10)).outcome).toMatchObject({ status: 404, body: "gone" });
    const lost = await then(`${headOf(0, 10)}0123456789`);
    const { outcome, target } = await get(lost.transports, lost.server.url, 0, 10, { claim: () => false });
    expect(outcome).toBeUndefined();
    expect(target).toEqual(Buffer.alloc(10, 0xee));
    const broken = await then(`${headOf(0, 10)}012`, true);
    expect((await get(broken.transports, broken.server.url, 0, 10)).outcome).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    const controller = new AbortController();
    const aborted = await serve((socket, _request, count) => (count === 1 ? socket.write(odd) : controller.abort()));
    const { signal } = controller;
    expect((await get(aborted.transports, aborted.server.url, 0, 10, { signal })).outcome).toMatchObject({ code: "MILLRACE_ABORTED" });
  });

  it.each([
    ["of a stated length", response(503, { "content-length": 4, "retry-after": 3 }, "Slow"), "Slow"],
    ["in chunks", response(503, { "transfer-encoding": "chunked", "retry-after": 3 }, "3\r\nSlo\r\n1;x=y\r\nw\r\n0\r\n\r\n"), "Slow"],
    ["in chunks, cut off", response(503, { "transfer-encoding": "chunked", "retry-after": 3 }, "3\r\nSlo\r\n9\r\nw"), "Slow"],
    ["until the end", response(503, { "retry-after": 3 }, "Slow"), "Slow"],
  ])("takes an error %s with one request", async (_name, text, body) => {
    const { server, transports } = await serve((socket) => void socket.end(text));
    const { outcome } = await get(transports, server.url, 0, 10);
    expect(outcome).toMatchObject({ status: 503, headers: { "retry-after": "3" }, body });
    expect(server.requests).toHaveLength(1);
  });

  it("ends at 8 KiB of an error that goes on, in chunks too, and at silence", async () => {
    for (const head of ["content-length: 100000", "transfer-encoding: chunked"]) {
      const { server, transports } = await serve((socket) => {
        socket.write(`HTTP/1.1 404 Not Found\r\n${head}\r\n\r\n`);
        for (let i = 0; i < 80; i++) socket.write(head.includes("chunked") ? `3e8\r\n${"x".repeat(1000)}\r\n` : "x".repeat(1000));
      });
      const { outcome } = await get(transports, server.url, 0, 10);
      expect(outcome).toMatchObject({ status: 404, body: "x".repeat(8192) });
    }
    const silent = await serve((socket) => void socket.write(response(404, { "content-length": 10 }, "gone")), { stallMs: 300 });
    expect((await get(silent.transports, silent.server.url, 0, 10)).outcome).toMatchObject({ code: "MILLRACE_TIMEOUT" });
  });

  it("is MILLRACE_CONFIG where the request would break its own lines", async () => {
    const { server, transports } = await serve(proper);
    const broken = [requestOf(server.url, 0, 1, { "if-match": '"a"\r\nx: y' }), { ...requestOf(server.url, 0, 1), path: "/a b" }];
    for (const request of broken)
      await expect(rangeGet(transports, request, [new Uint8Array(1)])).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
    expect(server.requests).toHaveLength(0);
  });
});

describe("RangeClient: connections", () => {
  /** A server that counts its connections. */
  async function counting(answer: Answer, timeouts: HttpTimeouts = {}) {
    const sockets: Socket[] = [];
    const made = await serve((socket, request, count) => {
      if (!sockets.includes(socket)) sockets.push(socket);
      answer(socket, request, count);
    }, timeouts);
    return { sockets, url: made.server.url, ...made };
  }

  it("uses the one used last again, and as many as there are requests under way", async () => {
    const { sockets, transports, url } = await counting(proper);
    const read = () => get(transports, url, 0, 5000);
    await Promise.all([read(), read(), read()]);
    expect(sockets).toHaveLength(3);
    for (let i = 0; i < 5; i++) expect((await read()).outcome).toBeUndefined();
    expect(sockets).toHaveLength(3);
  });

  it.each([
    ["a server that says so", (socket: Socket) => write206(socket, 0, 10, { connection: "x, Close" })],
    [
      "HTTP/1.0",
      (socket: Socket) => void socket.write(Buffer.concat([Buffer.from(headOf(0, 10).replace("1.1", "1.0")), BODY.subarray(0, 10)])),
    ],
    ["a refusal of more bytes than it said", (socket: Socket) => void socket.write(response(404, { "content-length": 2 }, "gone"))],
  ])("closes after %s", async (_name, answer) => {
    const { sockets, transports, url } = await counting(answer);
    for (let i = 0; i < 2; i++) await get(transports, url, 0, 10);
    expect(sockets).toHaveLength(2);
    await transports.close();
  });

  it("keeps the connection of a refusal", async () => {
    const { sockets, transports, url } = await counting((socket) => void socket.write(response(404, { "content-length": 4 }, "gone")));
    for (let i = 0; i < 3; i++) expect((await get(transports, url, 0, 10)).outcome).toMatchObject({ status: 404, body: "gone" });
    expect(sockets).toHaveLength(1);
  });

  it("asks once more, on a new connection, where an idle one was closed as the request came", async () => {
    const closing: Answer = (socket, request, count) => (count === 2 ? socket.end() : proper(socket, request, count));
    const { sockets, server, transports, url } = await counting(closing);
    for (let i = 0; i < 2; i++) expect((await get(transports, url, 0, 10)).outcome).toBeUndefined();
    expect(server.requests).toHaveLength(3);
    expect(sockets).toHaveLength(2);
  });

  it("takes a reset for that after a rest only, and never of a new connection", async () => {
    const resetting: Answer = (socket, request, count) => (count % 2 === 0 ? socket.resetAndDestroy() : proper(socket, request, count));
    const { server, transports, url } = await counting(resetting);
    await get(transports, url, 0, 10);
    expect((await get(transports, url, 0, 10)).outcome).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    await get(transports, url, 0, 10);
    await sleep(600);
    expect((await get(transports, url, 0, 10)).outcome).toBeUndefined();
    expect(server.requests).toHaveLength(5);
    const dead = await counting((socket) => void socket.end());
    expect((await get(dead.transports, dead.url, 0, 10)).outcome).toMatchObject({
      code: "MILLRACE_UNAVAILABLE",
      message: expect.stringContaining("without an answer"),
    });
    expect(dead.server.requests).toHaveLength(1);
  });

  it("drops an idle connection on which bytes come that nobody asked for", async () => {
    const { sockets, transports, url } = await counting(proper);
    await get(transports, url, 0, 10);
    sockets[0]!.write(headOf(0, 10));
    await vi.waitFor(() => expect(sockets[0]!.destroyed).toBe(true), IN_TIME);
    expect((await get(transports, url, 0, 10)).outcome).toBeUndefined();
    expect(sockets).toHaveLength(2);
  });

  it("closes an idle connection after 4 s", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { sockets, transports, url } = await counting(proper);
    await get(transports, url, 0, 10);
    vi.advanceTimersByTime(3999);
    await get(transports, url, 0, 10);
    expect(sockets).toHaveLength(1);
    const ended = new Promise((resolve) => sockets[0]!.once("end", resolve));
    vi.advanceTimersByTime(4000);
    await ended;
  });

  it("ends a connection after 5 minutes at most, with the request that it carries then, and not before 4", async () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const { sockets, transports, url } = await counting((socket, request, count) => {
      if (count === 4) vi.advanceTimersByTime(60_000);
      proper(socket, request, count);
    });
    await get(transports, url, 0, 10);
    vi.advanceTimersByTime(239_999);
    for (let i = 0; i < 2; i++) await get(transports, url, 0, 10);
    expect(sockets).toHaveLength(1);
    expect((await get(transports, url, 0, 10)).outcome).toBeUndefined();
    expect(sockets).toHaveLength(1);
    expect((await get(transports, url, 0, 10)).outcome).toBeUndefined();
    expect(sockets).toHaveLength(2);
  });

  it("counts the stall from the last piece, not from the first", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { sockets, transports, url } = await counting((socket) => void socket.write(headOf(0, 6)), { stallMs: 300 });
    const progress = { received: 0 };
    const reading = get(transports, url, 0, 6, { progress });
    for (let i = 0; i < 6; i++) {
      while (sockets.length === 0 || progress.received < i) await sleep(1);
      vi.advanceTimersByTime(200);
      sockets[0]!.write(BODY.subarray(i, i + 1));
    }
    expect((await reading).outcome).toBeUndefined();
  });

  it("looks again, before a body counts as stalled, at what came while this process stood still", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const timeouts = { stallMs: 300 };
    const { sockets, transports, url } = await counting((socket) => {
      socket.write(headOf(0, 3));
      socket.write(BODY.subarray(0, 1));
    }, timeouts);
    const progress = { received: 0 };
    const reading = get(transports, url, 0, 3, { progress });
    const nextTurn = () => new Promise((resolve) => setImmediate(resolve));
    while (progress.received < 1) await nextTurn();
    // The time is up before the byte that lies there is read.
    sockets[0]!.write(BODY.subarray(1, 2));
    vi.advanceTimersByTime(timeouts.stallMs);
    while (progress.received < 2) await nextTurn();
    await nextTurn();
    vi.advanceTimersByTime(timeouts.stallMs - 1);
    await nextTurn();
    sockets[0]!.write(BODY.subarray(2, 3));
    expect((await reading).outcome).toBeUndefined();
  });

  it("ends with close, whatever is under way", async () => {
    const { sockets, transports, url } = await counting((socket, request, count) => {
      if (count === 1) proper(socket, request, count);
      else if (count === 3) socket.write(headOf(0, 10));
    });
    await get(transports, url, 0, 10);
    const reads = [get(transports, url, 0, 10), get(transports, url, 0, 10), get(transports, url, 0, 10)];
    while (sockets.length < 3) await sleep(1);
    await transports.close();
    for (const { outcome } of await Promise.all(reads)) expect(outcome).toMatchObject({ code: "MILLRACE_CLOSED" });
    expect((await get(transports, url, 0, 10)).outcome).toMatchObject({ code: "MILLRACE_CLOSED" });
    await transports.close();
  });

  it("is aborted and ended while it connects", async () => {
    // A server whose queue is never taken from would do; TLS to one that says nothing is the same and always at hand.
    const { transports, server } = await serve(() => undefined);
    const silent = server.url.replace("http:", "https:");
    const controller = new AbortController();
    const reading = get(transports, silent, 0, 10, { signal: controller.signal });
    await sleep(20);
    controller.abort();
    expect((await reading).outcome).toMatchObject({ code: "MILLRACE_ABORTED" });
    const client = new RangeClient({ connectMs: 50 });
    open.push(client);
    const answer = new RangeAnswer(requestOf(silent, 0, 10), [new Uint8Array(10)], {});
    await expect(client.get(answer, undefined)).rejects.toMatchObject({
      code: "MILLRACE_TIMEOUT",
      message: expect.stringContaining("no connection"),
    });
  });

  it("takes a progress that aborts its own read, early and with the last byte", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { transports, url } = await counting(proper);
    for (const from of [1, SIZE]) {
      const controller = new AbortController();
      const progress = {
        get received() {
          return 0;
        },
        set received(bytes: number) {
          sum += bytes;
          if (sum >= from) controller.abort();
        },
      };
      let sum = 0;
      expect((await get(transports, url, 0, SIZE, { progress, signal: controller.signal })).outcome).toMatchObject({
        code: "MILLRACE_ABORTED",
      });
    }
    expect(vi.getTimerCount()).toBe(0);
  });

  it("takes a claim that aborts its own read, and one that throws, for what they are", async () => {
    const { transports, url } = await counting(proper);
    const controller = new AbortController();
    const claim = () => {
      controller.abort();
      return true;
    };
    expect((await get(transports, url, 0, 10, { claim, signal: controller.signal })).outcome).toMatchObject({ code: "MILLRACE_ABORTED" });
    const error = new Error("broken claim");
    const broken = () => {
      throw error;
    };
    expect((await get(transports, url, 0, 10, { claim: broken })).outcome).toBe(error);
    expect((await get(transports, url, 0, 10)).outcome).toBeUndefined();
  });

  it("is at ease with Node's own server, over IPv6 brackets and a name", async () => {
    const http = createServer((_request, answer) => {
      answer.writeHead(206, { "content-length": 10, "content-range": `bytes 0-9/${SIZE}`, etag: '"v"' });
      answer.end(BODY.subarray(0, 10));
    });
    await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", resolve));
    const { port } = http.address() as AddressInfo;
    const transports = new HttpTransports({});
    open.push(transports, { close: () => new Promise((resolve) => http.close(() => resolve())) });
    for (const host of ["localhost", "[::ffff:127.0.0.1]"])
      expect((await get(transports, `http://${host}:${port}`, 0, 10)).outcome).toBeUndefined();
  });
});

describe("RangeClient: TLS", () => {
  async function secure() {
    const sockets: TLSSocket[] = [];
    const resumed: boolean[] = [];
    const server = createTlsServer({ ...selfSigned(), ALPNProtocols: ["h2", "http/1.1"] }, (socket) => {
      sockets.push(socket);
      resumed.push(socket.isSessionReused());
      socket.on("error", () => undefined);
      socket.on("data", (chunk) => {
        const ending = chunk.toString().includes("x-end");
        write206(socket, 0, SIZE, ending ? { connection: "close" } : {});
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const transports = new HttpTransports({});
    const close = async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    };
    open.push(transports, { close });
    return { sockets, resumed, transports, port: (server.address() as AddressInfo).port };
  }

  it("reads into shared memory, by HTTP/1.1, and takes up its sessions", async () => {
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    const { sockets, resumed, transports, port } = await secure();
    const origin = `https://localhost:${port}`;
    for (let i = 0; i < 3; i++) {
      const target = new Uint8Array(new SharedArrayBuffer(SIZE));
      await rangeGet(transports, requestOf(origin, 0, SIZE, i === 1 ? { "x-end": "1" } : {}), [target]);
      expect(BODY.equals(target)).toBe(true);
    }
    expect(sockets).toHaveLength(2);
    expect(sockets.map((socket) => socket.alpnProtocol)).toEqual(["http/1.1", "http/1.1"]);
    expect(resumed).toEqual([false, true]);
    expect((sockets[0] as unknown as { servername: string }).servername).toBe("localhost");
  });

  it("does not touch the targets once an abort has settled, even one made between two records", async () => {
    vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
    const { transports, port } = await secure();
    for (let turn = 0; turn < 10; turn++) {
      const controller = new AbortController();
      const target = new Uint8Array(SIZE);
      let seen = 0;
      // Called in the midst of a read, and aborting in the microtasks behind it.
      const progress = {
        get received() {
          return seen;
        },
        set received(bytes: number) {
          seen = bytes;
          if (bytes > turn * 16_000) queueMicrotask(() => controller.abort());
        },
      };
      const request = requestOf(`https://127.0.0.1:${port}`, 0, SIZE);
      await expect(rangeGet(transports, request, [target], { signal: controller.signal, progress })).rejects.toMatchObject({
        code: "MILLRACE_ABORTED",
      });
      target.fill(0xee);
      await sleep(5);
      expect(target.every((byte) => byte === 0xee)).toBe(true);
    }
  });

  it("is MILLRACE_CONFIG for a certificate that is not trusted", async () => {
    const { transports, port, sockets } = await secure();
    const { outcome } = await get(transports, `https://127.0.0.1:${port}`, 0, 10);
    expect(outcome).toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringContaining("NODE_EXTRA_CA_CERTS") });
    for (const socket of sockets) expect(socket.bytesRead).toBe(0);
  });
});

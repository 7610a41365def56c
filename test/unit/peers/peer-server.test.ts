/** What the server does with requests that are wrong, too many or too slow. */
import { connect, type Socket } from "node:net";
import { crc32c } from "@node-rs/crc32";
import { afterEach, describe, expect, it, vi } from "vitest";
import { HeldSpan, type SpanLease } from "../../../src/cache/span-lease.js";
import type { AcquireDemand } from "../../../src/cache/tier-chain.js";
import { MillraceError } from "../../../src/errors.js";
import { PeerAuth } from "../../../src/peers/auth.js";
import { HELD_PATH, holdPath } from "../../../src/peers/held-protocol.js";
import { blocksPath, formatTerms, HEADER, type Headers, objectHeaders, PEER_PATH, signedParts } from "../../../src/peers/peer-protocol.js";
import { PeerServer, type PeerServerOptions } from "../../../src/peers/peer-server.js";
import type { PaceStats } from "../../../src/storage/origin-store.js";
import { deferred } from "../../../src/util/deferred.js";
import { unlessAborted } from "../../../src/util/unless-aborted.js";
import { IN_TIME } from "../../support/in-time.js";
import { ManualClock } from "../../support/manual-clock.js";
import { identity } from "../../support/peers/nodes.js";
import { FakeStore } from "../cache/fake-store.js";

const BLOCK = 32 * 2 ** 20;
const SELF = identity("me", { blockSize: BLOCK });
const OBJECT = new FakeStore().object("o", 3 * BLOCK);
const DATA = new Uint8Array(new SharedArrayBuffer(BLOCK)).fill(7);
const CRC = crc32c(DATA);
const HEADERS = {
  ...objectHeaders({ uri: OBJECT.uri, size: OBJECT.size, etag: "1" }),
  [HEADER.peer]: "asker",
  [HEADER.options]: formatTerms(SELF),
};
const PATH = blocksPath(OBJECT.id, 0, 0);

/** Blocks that come when the gate is open. */
class Blocks {
  readonly blockSize = BLOCK;
  readonly demands: AcquireDemand[] = [];
  leased = 0;
  gate: Promise<void> = Promise.resolve();
  held = 0;

  cachedBytes(): number {
    return this.held;
  }

  async acquire(_object: unknown, begin: number, end: number, demand: AcquireDemand): Promise<SpanLease> {
    this.demands.push(demand);
    await unlessAborted(this.gate, demand.signal, "The read");
    this.leased++;
    this.held = end - begin;
    return new HeldSpan(begin, end, [{ begin: 0, bytes: DATA, checksum: CRC, release: () => this.leased-- }], BLOCK);
  }
}

let blocks = new Blocks();
let server: PeerServer;
let sockets: Socket[] = [];
async function start(options: Partial<PeerServerOptions> = {}): Promise<void> {
  server = await PeerServer.start({ listen: "127.0.0.1:0", identity: SELF, blocks, resolve: () => OBJECT, ...options });
}
afterEach(async () => {
  for (const socket of sockets) socket.destroy();
  await server.close();
  blocks = new Blocks();
  sockets = [];
});

interface Raw {
  readonly socket: Socket;
  /** What has come so far. */
  text(): string;
  readonly closed: Promise<void>;
}

function raw(send: string): Raw {
  const socket = connect(server.address.port, "127.0.0.1");
  sockets.push(socket);
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  socket.write(send);
  return { socket, text: () => text, closed: new Promise((resolve) => socket.once("close", () => resolve())) };
}

function get(path: string, headers: Headers = HEADERS, method = "GET"): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\nhost: me\r\n${lines.join("")}\r\n`;
}

async function ask(path: string, headers: Headers = HEADERS, method = "GET"): Promise<{ status: number; headers: string; body: string }> {
  const { text, closed } = raw(get(path, { ...headers, connection: "close" }, method));
  await closed;
  const final = text().replace(/^(HTTP\/1\.1 102 Processing\r\n\r\n)+/, "");
  const end = final.indexOf("\r\n\r\n");
  return { status: Number(final.slice(9, 12)), headers: final.slice(0, end).toLowerCase(), body: final.slice(end + 4) };
}

describe("answers", () => {
  it("have the bytes asked for, with their checksum, from the slots", async () => {
    await start();
    const whole = await ask(PATH);
    expect(whole).toMatchObject({ status: 200, body: "\x07".repeat(BLOCK) });
    expect(whole.headers).toContain(`x-millrace-crc32c: ${crc32c(DATA).toString(16).padStart(8, "0")}`);
    const part = await ask(PATH, { ...HEADERS, range: "bytes=5-9", [HEADER.priority]: "3" });
    expect(part).toMatchObject({ status: 206, body: "\x07".repeat(5) });
    expect(part.headers).toContain(`content-range: bytes 5-9/${BLOCK}`);
    expect(part.headers).toContain(`x-millrace-crc32c: ${crc32c(DATA.subarray(5, 10)).toString(16).padStart(8, "0")}`);
    expect(blocks.demands).toMatchObject([
      { local: true, priority: 0 },
      { local: true, priority: 3, wide: false },
    ]);
    await vi.waitFor(() => expect([blocks.leased, server.inFlight]).toEqual([0, 0]), IN_TIME);
    expect(server.counters).toMatchObject({ answered: 2, blocks: 2, bytes: BLOCK + 5 });
  });

  it("are announced while they are fetched", async () => {
    const clock = new ManualClock();
    await start({ clock });
    const gate = deferred<void>();
    blocks.gate = gate.promise;
    const { text } = raw(get(PATH, { ...HEADERS, range: "bytes=0-0" }));
    await vi.waitFor(() => expect(blocks.demands).toHaveLength(1), IN_TIME);
    await clock.advance(200);
    await vi.waitFor(() => expect(text()).toBe("HTTP/1.1 102 Processing\r\n\r\n".repeat(3)), IN_TIME);
    gate.resolve();
    await vi.waitFor(() => expect(text()).toMatch(/HTTP\/1.1 206 /), IN_TIME);
    await vi.waitFor(() => expect(clock.pending).toBe(0), IN_TIME);
  });

  it("say no more than a code where the blocks cannot be had", async () => {
    await start();
    const gate = deferred<void>();
    blocks.gate = gate.promise;
    blocks.gate.catch(() => {});
    gate.reject(Object.assign(new Error("s3://bucket?secret=1"), { code: "MILLRACE_CHANGED" }));
    expect(await ask(PATH)).toMatchObject({ status: 502, body: "the blocks could not be had (MILLRACE_CHANGED)\n" });
    expect(server.counters.refused.origin).toBe(1);
  });

  it("are waited for as long as their origin brings anything, and not when it brings nothing any more", async () => {
    const clock = new ManualClock();
    let receivedBytes = 0;
    const pace = () => ({ receivedBytes }) as PaceStats;
    await start({ clock, resolve: () => ({ ...OBJECT, store: { ...OBJECT.store, uri: OBJECT.store.uri, pace } }) });
    blocks.gate = new Promise(() => {});
    const { text, closed } = raw(get(PATH, { ...HEADERS, connection: "close" }));
    await vi.waitFor(() => expect(blocks.demands).toHaveLength(1), IN_TIME);
    for (let i = 0; i < 4; i++) {
      receivedBytes++;
      await clock.advance(29_000);
    }
    expect([blocks.demands[0]!.signal!.aborted, server.inFlight]).toEqual([false, 1]);
    // The last bytes were seen a second after they came.
    await clock.advance(2_000);
    await closed;
    expect(text()).toMatch(/102 Processing[\s\S]*HTTP\/1\.1 502 [\s\S]*\(MILLRACE_TIMEOUT\)/);
    await vi.waitFor(() => expect([server.inFlight, clock.pending, server.counters.refused.origin]).toEqual([0, 0, 1]), IN_TIME);
    // Who asks next is told so at once.
    expect((await ask(PATH)).status).toBe(502);
    expect(blocks.demands).toHaveLength(1);
  });

  it("are not tried again for a while where the origin could not be reached, but what is held is sent", async () => {
    const clock = new ManualClock();
    await start({ clock });
    const gate = deferred<void>();
    blocks.gate = gate.promise;
    blocks.gate.catch(() => {});
    gate.reject(new MillraceError("MILLRACE_UNAVAILABLE", "the origin is down"));
    const statuses = async (times: number) => {
      const seen: number[] = [];
      for (let i = 0; i < times; i++) seen.push((await ask(PATH)).status);
      return seen;
    };
    expect(await statuses(3)).toEqual([502, 502, 502]);
    expect(blocks.demands).toHaveLength(1);
    await clock.advance(10_000);
    expect(await statuses(3)).toEqual([502, 502, 502]);
    expect(blocks.demands).toHaveLength(2);
    blocks.gate = Promise.resolve();
    blocks.held = BLOCK;
    expect(await statuses(1)).toEqual([200]);
    blocks.held = 0;
    expect(await statuses(1)).toEqual([502]);
    await clock.advance(10_000);
    expect(await statuses(1)).toEqual([200]);
    blocks.held = 0;
    expect(await statuses(1)).toEqual([200]);
  });

  it("to those who run the process need no secret", async () => {
    let ready = false;
    await start({ auth: { secret: "s" }, ready: () => ready });
    expect(await ask("/healthz", {})).toMatchObject({ status: 200, body: "ok" });
    expect(await ask("/readyz", {})).toMatchObject({ status: 503 });
    ready = true;
    expect(await ask("/readyz", {})).toMatchObject({ status: 200, body: "ready" });
    expect(await ask(PEER_PATH, {})).toMatchObject({ status: 401 });
  });
});

describe("what is held", () => {
  const HOLD = holdPath(OBJECT.id, 0, 0);

  it("is fetched when it is asked for, counted before and after, and not sent", async () => {
    await start();
    const answer = await ask(HOLD, { ...HEADERS, range: "bytes=5-9", [HEADER.priority]: "99" });
    expect(answer).toMatchObject({ status: 200, body: '{"before":0,"bytes":5}' });
    expect(answer.headers).toContain("x-millrace-peer: me");
    expect(blocks.demands).toMatchObject([{ local: true, priority: 99 }]);
    expect([blocks.leased, server.counters.bytes, server.inFlight]).toEqual([0, 0, 0]);
  });

  it("is not waited for longer than the asker waits", async () => {
    const clock = new ManualClock();
    await start({ clock });
    blocks.gate = new Promise(() => {});
    const { text, closed } = raw(get(HOLD, { ...HEADERS, connection: "close" }));
    await vi.waitFor(() => expect(blocks.demands).toHaveLength(1), IN_TIME);
    await clock.advance(20_000);
    await closed;
    expect(text()).toMatch(/102 Processing[\s\S]*HTTP\/1\.1 503 /);
    await vi.waitFor(() => expect([server.inFlight, clock.pending, server.counters.refused.busy]).toEqual([0, 0, 1]), IN_TIME);
  });

  it("an asker that leaves ends the fetch", async () => {
    await start();
    blocks.gate = new Promise(() => {});
    const { socket } = raw(get(HOLD));
    await vi.waitFor(() => expect(blocks.demands).toHaveLength(1), IN_TIME);
    socket.destroy();
    await vi.waitFor(() => expect([server.inFlight, server.counters.abandoned]).toEqual([0, 1]), IN_TIME);
    expect(blocks.demands[0]!.signal!.aborted).toBe(true);
  });

  it("below a URI is told where a mount covers it", async () => {
    const heldBelow = vi.fn(async (uri: string) => (uri === "s3://b/ä" ? 7 : undefined));
    await start({ heldBelow });
    const about = (uri: string) => ask(HELD_PATH, { [HEADER.peer]: "asker", [HEADER.uri]: encodeURIComponent(uri) });
    expect(await about("s3://b/ä")).toMatchObject({ status: 200, body: '{"before":7,"bytes":7}' });
    expect(await about("s3://c")).toMatchObject({ status: 403, body: "no such object here\n" });
    expect(heldBelow.mock.calls).toEqual([["s3://b/ä"], ["s3://c"]]);
    expect([server.counters.refused.object, server.inFlight]).toEqual([1, 0]);
  });

  it("below a URI is not told where nobody says so, without a URI, or where the look fails", async () => {
    await start();
    expect(await ask(HELD_PATH, { ...HEADERS })).toMatchObject({ status: 403 });
    await server.close();
    await start({ heldBelow: () => Promise.reject(Object.assign(new Error("s3://b?secret=1"), { code: "MILLRACE_PERMISSION" })) });
    expect(await ask(HELD_PATH, {})).toMatchObject({ status: 400 });
    expect(await ask(HELD_PATH, HEADERS)).toMatchObject({ status: 502, body: "the blocks could not be had (MILLRACE_PERMISSION)\n" });
  });
});

describe("refused without any work", () => {
  const secret = "s";
  const auth = new PeerAuth({ secret });
  const signed = (path: string, headers: Headers = HEADERS) => ({ ...headers, authorization: auth.sign(signedParts(path, headers)) });
  it.each<[string, () => Promise<{ status: number; body: string }>, number, string]>([
    ["an unsigned request", () => ask(PATH), 401, "unsigned"],
    ["one signed for another path", () => ask(PATH, signed(`${PATH}-0`)), 401, "signature"],
    ["an old one", () => ask(PATH, { ...HEADERS, authorization: auth.sign(signedParts(PATH, HEADERS), -70_000) }), 401, "expired"],
    [
      "another secret",
      () => ask(PATH, { ...HEADERS, authorization: new PeerAuth({ secret: "t" }).sign(signedParts(PATH, HEADERS)) }),
      401,
      "signature",
    ],
    ["another method", () => ask(PATH, signed(PATH), "POST"), 405, "malformed"],
    ["a body", () => ask(PATH, { ...signed(PATH), "content-length": "5" }), 413, "oversized"],
    ["a chunked body", () => ask(PATH, { ...signed(PATH), "transfer-encoding": "chunked" }), 413, "oversized"],
    ["an unknown path", () => ask("/v1/../etc/passwd", signed("/v1/../etc/passwd")), 404, "path"],
    ["an unsigned question", () => ask(HELD_PATH), 401, "unsigned"],
    ["a question signed for another URI", () => ask(HELD_PATH, { ...signed(HELD_PATH), [HEADER.uri]: "s3%3A%2F%2Fb" }), 401, "signature"],
    ["blocks to hold, signed for sending", () => ask(holdPath(OBJECT.id, 0, 0), signed(PATH)), 401, "signature"],
    ["other options", () => ask(PATH, signed(PATH, { ...HEADERS, [HEADER.options]: "version=2" })), 409, "options"],
    ["an id that is not the object's", () => ask(PATH.replace(/.\/0$/, "_/0"), signed(PATH)), 404, "path"],
    ["an object of another etag", () => ask(PATH, signed(PATH, { ...HEADERS, [HEADER.etag]: "2" })), 403, "object"],
    ["a block that is not there", () => ask(blocksPath(OBJECT.id, 3, 3), signed(blocksPath(OBJECT.id, 3, 3))), 400, "malformed"],
    ["headers of 20 KiB", () => ask(PATH, { ...HEADERS, x: "x".repeat(20_000) }), 431, "oversized"],
    ["a header without a colon", () => ask(`${PATH} HTTP/1.1\r\nno colon\r\nx`, {}), 400, "malformed"],
  ])("%s", async (_what, send, status, reason) => {
    const resolve = vi.fn(() => OBJECT);
    await start({ auth: { secret }, resolve });
    const answer = await send();
    expect(answer.status).toBe(status);
    expect(answer.body.split("\n").length).toBeLessThanOrEqual(2);
    expect(Object.entries(server.counters.refused).filter(([, count]) => count > 0)).toEqual([[reason, 1]]);
    expect([blocks.demands, resolve.mock.calls, server.inFlight]).toEqual([[], [], 0]);
  });

  it("an object of no mount here, or of another one's", async () => {
    await start({ resolve: async () => new FakeStore().object("other", 5) });
    expect(await ask(PATH)).toMatchObject({ status: 403, body: "no such object here\n" });
    expect([blocks.demands, server.counters.refused.object]).toEqual([[], 1]);
  });
});

describe("limits", () => {
  it("an asker with too much under way is told so at once, others are served", async () => {
    await start({ limits: { perAsker: 1 } });
    const gate = deferred<void>();
    blocks.gate = gate.promise;
    const first = ask(PATH, { ...HEADERS, range: "bytes=0-0" });
    await vi.waitFor(() => expect(blocks.demands).toHaveLength(1), IN_TIME);
    const busy = await ask(PATH);
    expect(busy).toMatchObject({ status: 503 });
    expect(busy.headers).toContain("retry-after: 1");
    const other = ask(PATH, { ...HEADERS, [HEADER.peer]: "other", range: "bytes=0-0" });
    await vi.waitFor(() => expect(blocks.demands).toHaveLength(2), IN_TIME);
    gate.resolve();
    expect([(await first).status, (await other).status]).toEqual([206, 206]);
    expect(server.counters.refused.busy).toBe(1);
  });

  it("who does not take an answer is cut off, and its blocks are free again", async () => {
    await start({ limits: { stallMs: 50 } });
    const { socket, closed } = raw(get(PATH));
    socket.pause();
    await vi.waitFor(() => expect(server.counters.cutOff).toBe(1), IN_TIME);
    await vi.waitFor(() => expect([blocks.leased, server.inFlight]).toEqual([0, 0]), IN_TIME);
    socket.resume();
    await closed;
    expect(server.counters.answered).toBe(0);
  });

  it("who takes it too slowly is cut off too", async () => {
    const clock = new ManualClock();
    await start({ clock });
    const { socket, closed } = raw(get(PATH));
    socket.pause();
    await vi.waitFor(() => expect(blocks.leased).toBe(1), IN_TIME);
    await vi.waitFor(() => expect(clock.pending).toBe(1), IN_TIME);
    await clock.advance(60_000);
    await vi.waitFor(() => expect([server.counters.cutOff, blocks.leased]).toEqual([1, 0]), IN_TIME);
    socket.resume();
    await closed;
  });

  it("connections beyond the limit are dropped", async () => {
    await start({ limits: { connections: 1 } });
    const first = raw(get("/healthz", {}));
    await vi.waitFor(() => expect(first.text()).toContain("ok"), IN_TIME);
    await raw(get("/healthz", {})).closed;
    expect(server.counters.dropped).toBe(1);
  });

  it("an address that is taken is said so", async () => {
    await start();
    const listen = `127.0.0.1:${server.address.port}`;
    await expect(PeerServer.start({ listen, identity: SELF, blocks, resolve: () => OBJECT })).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(/^peers\.listen: .*EADDRINUSE/),
    });
  });

  it("labels that no peer could read are refused", async () => {
    await start();
    const labels = { a: "x".repeat(9000) };
    await expect(PeerServer.start({ listen: "127.0.0.1:0", identity: { ...SELF, labels }, blocks, resolve: () => OBJECT })).rejects.toThrow(
      /^peers\.labels: /,
    );
  });
});

describe("closing", () => {
  it("finishes what is under way, and takes no more", async () => {
    await start();
    const gate = deferred<void>();
    blocks.gate = gate.promise;
    const answer = raw(get(PATH, { ...HEADERS, range: "bytes=0-9" }));
    await vi.waitFor(() => expect(blocks.demands).toHaveLength(1), IN_TIME);
    const closing = server.close();
    answer.socket.write(get(PATH));
    gate.resolve();
    await closing;
    await answer.closed;
    expect(answer.text()).toMatch(/^HTTP\/1\.1 102 Processing\r\n\r\nHTTP\/1\.1 206 /);
    expect([blocks.demands.length, server.counters.answered, server.counters.refused.closing]).toEqual([1, 1, 1]);
  });

  it("waits for no fetch that does not end", async () => {
    const clock = new ManualClock();
    await start({ clock });
    blocks.gate = new Promise(() => {});
    const { closed } = raw(get(PATH));
    await vi.waitFor(() => expect(blocks.demands).toHaveLength(1), IN_TIME);
    const closing = server.close();
    await clock.advance(5000);
    await Promise.all([closing, closed]);
    await vi.waitFor(() => expect([server.inFlight, clock.pending]).toEqual([0, 0]), IN_TIME);
    expect(server.counters.abandoned).toBe(1);
  });
});

/** Peers that are frozen, broken or lying: every read has the origin's bytes, in bounded time, and says whose fault it was. */
import type { Socket } from "node:net";
import { crc32c } from "@node-rs/crc32";
import { afterEach, describe, expect, it, vi } from "vitest";
import { BlockAnswer } from "../../../src/peers/peer-answers.js";
import { formatIdentity } from "../../../src/peers/peer-protocol.js";
import { IN_TIME } from "../../support/in-time.js";
import { ManualClock } from "../../support/manual-clock.js";
import { BLOCK, Cluster, identity, type Node } from "../../support/peers/nodes.js";
import { type RawServer, rawServer, response } from "../../support/raw-server.js";
import { bytesOf } from "../../unit/cache/fake-store.js";

let cluster = new Cluster();
const raws: RawServer[] = [];
afterEach(async () => {
  vi.restoreAllMocks();
  for (const { cache } of cluster.nodes) await vi.waitFor(() => expect(cache.slab.stats().workingBytes).toBe(0), IN_TIME);
  for (const raw of raws.splice(0)) await raw.close();
  await cluster.close();
  cluster = new Cluster();
});

/** A member that answers each request with what the test writes. */
async function broken(id: string, answer: (socket: Socket, request: string, count: number) => void): Promise<RawServer> {
  const raw = await rawServer(answer);
  raws.push(raw);
  cluster.urls.set(id, raw.url);
  cluster.order = () => [id, ...cluster.nodes.map((node) => node.id)];
  return raw;
}

async function read(node: Node, path = "o", size = 2 * BLOCK): Promise<void> {
  const span = await node.cache.acquire(cluster.object(path, size), 0, size, { priority: 0 });
  expect(Buffer.compare(span.view(0, size), bytesOf(cluster.store.seed(path), 0, size))).toBe(0);
  span.release();
}

const right = bytesOf(cluster.store.seed("o"), 0, 2 * BLOCK);
function blocksHead(other: Record<string, string | number> = {}, bytes: Uint8Array = right): string {
  const crc = [bytes.subarray(0, BLOCK), bytes.subarray(BLOCK)].map((part) => crc32c(part).toString(16).padStart(8, "0"));
  return response(206, { "content-length": bytes.length, "x-millrace-peer": "bad", "x-millrace-crc32c": crc.join(","), ...other });
}
function send(socket: Socket, head: string, bytes: Uint8Array = right): void {
  socket.write(head, "latin1");
  socket.write(bytes);
}

describe("a peer that answers wrongly", () => {
  it("is believed where it is right: the test's own answer is", async () => {
    const raw = await broken("bad", (socket) => send(socket, blocksHead()));
    const node = await cluster.node("me");
    await read(node);
    expect(node.cache.stats()).toMatchObject({ peerBytes: 2 * BLOCK, originBytes: 0 });
    expect(raw.requests[0]).toMatch(/^GET \/v1\/blocks\/[0-9a-f]{32}\/0-1 HTTP\/1\.1\r\n/);
  });

  const flipped = right.slice();
  flipped[BLOCK + 5]! ^= 1;
  it.each<[what: string, reason: string, state: string, answer: (socket: Socket) => void]>([
    ["with one wrong bit", "corrupt", "open", (socket) => send(socket, blocksHead(), flipped)],
    ["with too few bytes promised", "corrupt", "open", (socket) => send(socket, blocksHead({ "content-length": 5 }))],
    ["with too many promised", "corrupt", "open", (socket) => send(socket, blocksHead({ "content-length": 3 * BLOCK }))],
    ["without checksums", "corrupt", "open", (socket) => send(socket, blocksHead({ "x-millrace-crc32c": "" }))],
    ["with one checksum for two blocks", "corrupt", "open", (socket) => send(socket, blocksHead({ "x-millrace-crc32c": "00000000" }))],
    ["with bytes of unknown length", "corrupt", "open", (socket) => send(socket, "HTTP/1.1 206 OK\r\ntransfer-encoding: chunked\r\n\r\n")],
    ["in another's name", "refused", "open", (socket) => send(socket, blocksHead({ "x-millrace-peer": "other" }))],
    ["with no HTTP", "corrupt", "open", (socket) => void socket.write("SSH-2.0-OpenSSH\r\n\r\n")],
    ["and breaks off in the body", "unreachable", "closed", (socket) => socket.end(`${blocksHead()}half`)],
    ["and breaks off in the head", "unreachable", "closed", (socket) => socket.end("HTTP/1.1 206 OK\r\ncont")],
    ["by hanging up", "unreachable", "closed", (socket) => socket.destroy()],
    ["by a reset", "unreachable", "closed", (socket) => socket.resetAndDestroy()],
    [
      "that it is busy",
      "busy",
      "closed",
      (socket) => void socket.write(response(503, { "content-length": 5, "retry-after": 1 }, "busy\n")),
    ],
    ["that it could not get the bytes", "failed", "closed", (socket) => void socket.write(response(502, { "content-length": 0 }))],
    ["that it has no such path", "options", "open", (socket) => void socket.write(response(404, { "content-length": 0 }))],
    ["with a redirect", "failed", "closed", (socket) => void socket.write(response(302, { "content-length": 0, location: "http://x/" }))],
  ])("%s, is passed over", async (_what, reason, state, answer) => {
    await broken("bad", answer);
    const node = await cluster.node("me");
    await read(node);
    expect(node.cache.stats()).toMatchObject({ peerBytes: 0, originBytes: 2 * BLOCK });
    const { counters, peers } = node.client.stats();
    expect(Object.entries(counters.fallbacks).filter(([, count]) => count > 0)).toEqual([[reason, 1]]);
    expect(peers).toMatchObject([{ id: "bad", state }]);
    expect(counters.corruptBlocks).toBe(_what === "with one wrong bit" ? 1 : 0);
  });

  it("is distrusted: after one wrong block it is asked no more, and that is counted", async () => {
    const raw = await broken("bad", (socket) => send(socket, blocksHead(), flipped));
    const log = vi.fn();
    const node = await cluster.node("me", { client: { log } });
    for (const path of ["o", "p", "q"]) await read(node, path);
    expect(raw.requests).toHaveLength(1);
    expect(node.client.stats()).toMatchObject({ counters: { fallbacks: { corrupt: 1, open: 2 } }, peers: [{ reason: "corrupt" }] });
    expect(log).toHaveBeenCalledOnce();
  });

  it("leaves its groups to the next in order, who fetches through for all", async () => {
    await broken("bad", (socket) => send(socket, blocksHead(), flipped));
    const [next, a, b] = [await cluster.node("next"), await cluster.node("a"), await cluster.node("b")];
    cluster.store.shut();
    const reads = [read(a), read(b)];
    await vi.waitFor(() => expect(next.server.inFlight).toBe(2), IN_TIME);
    cluster.store.open();
    await Promise.all(reads);
    expect(cluster.store.bytes).toBe(2 * BLOCK);
    expect([a, b].map(({ cache }) => cache.stats().peerBytes)).toEqual([2 * BLOCK, 2 * BLOCK]);
    // The others hold nothing of it.
    expect([next, a, b].map(({ cache }) => cache.stats().memoryHeldBytes)).toEqual([2 * BLOCK, 0, 0]);
    await read(next, "p");
    expect(next.cache.stats()).toMatchObject({ peerBytes: 0, originBytes: 4 * BLOCK });
  });

  it("is stood in for by the next in order, which keeps what it reads for itself and for others", async () => {
    await broken("bad", (socket) => send(socket, blocksHead(), flipped));
    const [next, a, b] = [await cluster.node("next"), await cluster.node("a"), await cluster.node("b")];
    await read(next, "p");
    expect(next.cache.stats().memoryHeldBytes).toBe(2 * BLOCK);
    await read(a);
    expect(next.cache.stats().memoryHeldBytes).toBe(4 * BLOCK);
    for (const node of [b, next, a]) for (const path of ["o", "p"]) await read(node, path);
    expect(cluster.store.bytes).toBe(4 * BLOCK);
    expect([a, b].map(({ cache }) => cache.stats().memoryHeldBytes)).toEqual([0, 0]);
  });

  it("is stood in for once, where the one who does so and the others ask at the same time", async () => {
    const asked: Socket[] = [];
    await broken("bad", (socket) => void asked.push(socket));
    const [next, a] = [await cluster.node("next"), await cluster.node("a")];
    // Its own read still waits for the owner when the other's comes.
    const own = read(next);
    await vi.waitFor(() => expect(asked).toHaveLength(1), IN_TIME);
    const others = read(a);
    await vi.waitFor(() => expect(asked).toHaveLength(2), IN_TIME);
    cluster.store.shut();
    asked[1]!.destroy();
    await vi.waitFor(() => expect(cluster.store.inFlight).toBe(1), IN_TIME);
    asked[0]!.destroy();
    await vi.waitFor(() => expect(next.client.stats().counters.fallbacks.unreachable).toBe(1), IN_TIME);
    cluster.store.open();
    await Promise.all([own, others]);
    await read(next);
    expect(cluster.store.bytes).toBe(2 * BLOCK);
    expect(next.cache.stats().memoryHeldBytes).toBe(2 * BLOCK);
  });

  it("whose groups have become the asker's own while it was asked: the asker fetches them, for others too, and keeps them", async () => {
    const asked: Socket[] = [];
    await broken("bad", (socket) => void asked.push(socket));
    const [heir, other] = [await cluster.node("heir"), await cluster.node("other")];
    const own = read(heir);
    await vi.waitFor(() => expect(asked).toHaveLength(1), IN_TIME);
    cluster.order = () => ["heir", "other"];
    cluster.store.shut();
    asked[0]!.destroy();
    await vi.waitFor(() => expect(cluster.store.inFlight).toBe(1), IN_TIME);
    const others = read(other);
    await vi.waitFor(() => expect(heir.server.inFlight).toBe(1), IN_TIME);
    cluster.store.open();
    await Promise.all([own, others]);
    expect(cluster.store.bytes).toBe(2 * BLOCK);
    expect([heir, other].map(({ cache }) => cache.stats().memoryHeldBytes)).toEqual([2 * BLOCK, 0]);
  });

  it("at an address where nobody listens, is unreachable", async () => {
    const raw = await broken("bad", () => {});
    await raw.close();
    const node = await cluster.node("me");
    for (const path of ["o", "p", "q", "r"]) await read(node, path);
    expect(node.client.stats()).toMatchObject({ counters: { fallbacks: { unreachable: 3, open: 1 } }, peers: [{ reason: "unreachable" }] });
  });
});

describe("a frozen peer", () => {
  it("costs each read that asks it one deadline, then none, until a probe finds it well again", async () => {
    let thawed = false;
    const raw = await broken("bad", (socket, request) => {
      if (!thawed) return;
      if (request.startsWith("GET /v1/peer ")) {
        const body = formatIdentity(identity("bad"));
        socket.write(response(200, { "content-length": body.length }, body));
      } else send(socket, blocksHead());
    });
    const clock = new ManualClock();
    const node = await cluster.node("me", { client: { clock, random: () => 0 } });
    // Three at once: one deadline.
    const reads = ["a", "b", "c"].map((path) => read(node, path));
    await vi.waitFor(() => expect(raw.requests).toHaveLength(3), IN_TIME);
    await clock.advance(1499);
    expect(cluster.store.requests).toBe(0);
    await clock.advance(1);
    await Promise.all(reads);
    expect(node.client.stats()).toMatchObject({ counters: { fallbacks: { slow: 3 } }, peers: [{ state: "open", reason: "slow" }] });
    // None: the clock stands still.
    await read(node, "d");
    expect(raw.requests).toHaveLength(3);
    // A probe, beside the read; frozen, it fails.
    await clock.advance(125);
    await read(node, "e");
    await vi.waitFor(() => expect(raw.requests.at(-1)).toMatch(/^GET \/v1\/peer /), IN_TIME);
    expect(node.client.stats().peers).toMatchObject([{ state: "half-open" }]);
    await clock.advance(1500);
    await vi.waitFor(() => expect(node.client.stats().peers).toMatchObject([{ state: "open" }]), IN_TIME);
    thawed = true;
    await clock.advance(250);
    await read(node, "f");
    await vi.waitFor(
      () => expect(node.client.stats().peers).toMatchObject([{ state: "closed", reason: undefined, lastError: undefined }]),
      IN_TIME,
    );
    await read(node, "o");
    expect(node.cache.stats().peerBytes).toBe(2 * BLOCK);
    await vi.waitFor(() => expect(clock.pending).toBe(0), IN_TIME);
  });

  it("costs the deadline also where it freezes while it fetches", async () => {
    const raw = await broken("bad", (socket) => void socket.write("HTTP/1.1 102 Processing\r\n\r\n"));
    const clock = new ManualClock();
    const node = await cluster.node("me", { client: { clock } });
    const reading = read(node);
    await vi.waitFor(() => expect(raw.requests).toHaveLength(1), IN_TIME);
    // Twice where the sign of life had come before the clock moved, once else.
    await vi.waitFor(async () => {
      await clock.advance(1500);
      expect(node.client.stats().counters.fallbacks.slow).toBe(1);
    }, IN_TIME);
    await reading;
  });

  /** A peer that fetches for ever, and what makes it show life: resolves when that was taken note of. */
  async function atWork(): Promise<{ readonly showLife: () => Promise<void>; readonly serve: () => void }> {
    const heard = vi.spyOn(BlockAnswer.prototype, "interim");
    let socket: Socket | undefined;
    await broken("bad", (one) => {
      socket = one;
    });
    const showLife = async (): Promise<void> => {
      const before = heard.mock.calls.length;
      await vi.waitFor(() => expect(socket).toBeDefined(), IN_TIME);
      socket!.write("HTTP/1.1 102 Processing\r\n\r\n");
      await vi.waitFor(() => expect(heard.mock.calls.length).toBeGreaterThan(before), { ...IN_TIME, interval: 1 });
    };
    return { showLife, serve: () => send(socket!, blocksHead()) };
  }

  it("that shows life but brings nothing is waited for so long", async () => {
    const { showLife } = await atWork();
    const clock = new ManualClock();
    const node = await cluster.node("me", { client: { clock } });
    const reading = read(node);
    for (let i = 1; i < 300; i++) {
      await showLife();
      await clock.advance(1000);
    }
    await showLife();
    expect(node.client.stats().counters.fallbacks).toMatchObject({ failed: 0, slow: 0 });
    await clock.advance(1000);
    await reading;
    expect(node.client.stats()).toMatchObject({ counters: { fallbacks: { failed: 1, slow: 0 } }, peers: [{ state: "closed" }] });
  });

  it("that shows life to one reader is not taken for dead by another, whose connection waits to be taken", async () => {
    const sockets: Socket[] = [];
    const heard = vi.spyOn(BlockAnswer.prototype, "interim");
    await broken("bad", (socket) => void sockets.push(socket));
    const clock = new ManualClock();
    const node = await cluster.node("me", { client: { clock } });
    const reads = [read(node, "p"), read(node)];
    await vi.waitFor(() => expect(sockets).toHaveLength(2), IN_TIME);
    for (let i = 1; i <= 10; i++) {
      sockets[0]!.write("HTTP/1.1 102 Processing\r\n\r\n");
      await vi.waitFor(() => expect(heard).toHaveBeenCalledTimes(i), IN_TIME);
      await clock.advance(1400);
    }
    expect(node.client.stats().counters.fallbacks.slow).toBe(0);
    // One of which nothing at all was heard is lost, and is no reason to leave its peer alone.
    sockets[0]!.write("HTTP/1.1 102 Processing\r\n\r\n");
    await vi.waitFor(() => expect(heard).toHaveBeenCalledTimes(11), IN_TIME);
    await clock.advance(1000);
    await vi.waitFor(
      () => expect(node.client.stats()).toMatchObject({ counters: { fallbacks: { slow: 1 } }, peers: [{ state: "closed" }] }),
      IN_TIME,
    );
    for (const socket of sockets) socket.destroy();
    await Promise.all(reads);
  });

  it("that shows life while it fetches is waited for", async () => {
    const { showLife, serve } = await atWork();
    const clock = new ManualClock();
    const node = await cluster.node("me", { client: { clock } });
    const reading = read(node);
    for (let i = 1; i <= 5; i++) {
      await showLife();
      await clock.advance(1400);
    }
    serve();
    await reading;
    expect(node.cache.stats()).toMatchObject({ peerBytes: 2 * BLOCK, originBytes: 0 });
  });

  it("in the middle of a body is slow", async () => {
    await broken("bad", (socket) => send(socket, blocksHead(), right.subarray(0, 100)));
    const node = await cluster.node("me");
    await read(node);
    expect(node.client.stats().counters.fallbacks).toMatchObject({ slow: 1 });
    expect(node.cache.stats()).toMatchObject({ peerBytes: 0, originBytes: 2 * BLOCK });
  });

  it("keeps no read that is given up, and that says nothing of the peer", async () => {
    const raw = await broken("bad", () => {});
    const node = await cluster.node("me");
    const controller = new AbortController();
    const reading = node.cache.acquire(cluster.object("o", BLOCK), 0, BLOCK, { priority: 0, signal: controller.signal });
    await vi.waitFor(() => expect(raw.requests).toHaveLength(1), IN_TIME);
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await vi.waitFor(() => expect(node.cache.stats().slab.workingBytes).toBe(0), IN_TIME);
    expect(node.client.stats()).toMatchObject({ counters: { fallbacks: { slow: 0, unreachable: 0 } }, peers: [{ state: "closed" }] });
  });

  it("holds up neither close", async () => {
    const raw = await broken("bad", () => {});
    const node = await cluster.node("me");
    const reading = node.cache.acquire(cluster.object("o", BLOCK), 0, BLOCK, { priority: 0 });
    const failed = expect(reading).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    await vi.waitFor(() => expect(raw.requests).toHaveLength(1), IN_TIME);
    await Promise.all([node.cache.close(), node.client.close(), failed]);
    expect(node.cache.slab.stats().workingBytes).toBe(0);
  });
});

describe("a peer that was not asked before", () => {
  it("is asked for a few things at once, and for one more with each answer", async () => {
    const open: Socket[] = [];
    const raw = await broken("bad", (socket) => void open.push(socket));
    const node = await cluster.node("me");
    const reads = Array.from({ length: 20 }, async (_, i) => {
      const wanted = cluster.object(`o${i}`, 2 * BLOCK);
      (await node.cache.acquire(wanted, 0, wanted.size, { priority: 0 })).release();
    });
    const ended = Promise.allSettled(reads);
    for (let answered = 0; answered < 6; answered++) {
      const atOnce = Math.min(8, 4 + answered);
      await vi.waitFor(() => expect(raw.requests).toHaveLength(answered + atOnce), IN_TIME);
      expect(node.client.stats().peers).toMatchObject([{ inFlight: atOnce }]);
      send(open[answered]!, blocksHead());
    }
    await Promise.all([node.cache.close(), node.client.close(), ended]);
  });
});

describe("a peer that goes and comes", () => {
  it("at another address is asked again at once", async () => {
    const raw = await broken("bad", () => {});
    await raw.close();
    const node = await cluster.node("me");
    for (const path of ["a", "b", "c"]) await read(node, path);
    expect(node.client.stats().peers).toMatchObject([{ state: "open" }]);
    await broken("bad", (socket) => send(socket, blocksHead()));
    await read(node, "o");
    expect(node.client.stats().peers).toMatchObject([{ state: "closed" }]);
    expect(node.cache.stats().peerBytes).toBe(2 * BLOCK);
  });

  it("is forgotten when it is no member any more", async () => {
    await broken("bad", (socket) => send(socket, blocksHead()));
    const node = await cluster.node("me");
    await read(node);
    node.client.retain([]);
    expect(node.client.stats().peers).toEqual([]);
  });
});

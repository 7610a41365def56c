/** Nodes that share an origin: who fetches, who serves, who holds. */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { SpanLease } from "../../../src/cache/span-lease.js";
import { Owners } from "../../../src/peers/rendezvous.js";
import { IN_TIME } from "../../support/in-time.js";
import { selfSigned } from "../../support/origin/certificate.js";
import { BLOCK, Cluster, type Node } from "../../support/peers/nodes.js";
import { bytesOf } from "../../unit/cache/fake-store.js";

let cluster = new Cluster();
afterEach(async () => {
  await cluster.close();
  cluster = new Cluster();
});

async function read(node: Node, path: string, size: number, begin = 0, end = size, wide = false): Promise<void> {
  const span: SpanLease = await node.cache.acquire(cluster.object(path, size), begin, end, { priority: 1, wide });
  expect(Buffer.compare(span.view(begin, end), bytesOf(cluster.store.seed(path), begin, end))).toBe(0);
  span.release();
}

describe("nodes that share an origin", () => {
  it("read it once: the owner fetches through for all who ask at once, and holds what the others do not", async () => {
    const owner = await cluster.node("owner");
    const others = [await cluster.node("a"), await cluster.node("b"), await cluster.node("c")];
    const size = 5 * BLOCK + 100;
    await Promise.all([owner, ...others].map((node) => read(node, "o", size)));
    expect(cluster.store.bytes).toBe(size);
    expect(owner.cache.stats()).toMatchObject({ memoryHeldBytes: size, peerBytes: 0 });
    for (const { cache, client } of others) {
      expect(cache.stats()).toMatchObject({ memoryHeldBytes: 0, peerBytes: size, originBytes: 0, originRequests: 0, streamed: 6 });
      expect(client.stats().counters).toMatchObject({ requests: 1, answered: 1, blocks: 6, bytes: size });
    }
    await vi.waitFor(() => expect(owner.server.counters).toMatchObject({ answered: 3, blocks: 18, bytes: 3 * size }), IN_TIME);
    for (const { cache } of [owner, ...others]) await vi.waitFor(() => expect(cache.stats().slab.workingBytes).toBe(0), IN_TIME);
  });

  it("own by hashing, and hold all of the data once between them", async () => {
    const ids = ["a", "b", "c", "d"];
    const owners = new Owners(ids.map((id) => ({ id, weight: 1, labels: {}, url: `http://${id}` })));
    const size = 3 * BLOCK + 7;
    cluster.order = (_asker, group, object) => owners.ranked(object, group, size).map(({ id }) => id);
    const nodes = await Promise.all(ids.map((id) => cluster.node(id)));
    const epoch = () => Promise.all(nodes.flatMap((node) => Array.from({ length: 24 }, (_, i) => read(node, `shard-${i}`, size))));
    await epoch();
    expect(cluster.store.bytes).toBe(24 * size);
    expect(nodes.reduce((sum, { cache }) => sum + cache.stats().memoryHeldBytes, 0)).toBe(24 * size);
    await epoch();
    expect(cluster.store.bytes).toBe(24 * size);
    for (const { client } of nodes) expect(Object.values(client.stats().counters.fallbacks).every((count) => count === 0)).toBe(true);
  });

  it("asks each group of its owner, and answers parts of blocks", async () => {
    const [a, b] = [await cluster.node("a"), await cluster.node("b")];
    cluster.order = (_asker, group) => (group % 2 === 0 ? ["a", "b"] : ["b", "a"]);
    const size = 20 * 2 ** 20;
    await read(a, "o", size, 8 * 2 ** 20 - 100, 16 * 2 ** 20 + 100);
    await vi.waitFor(() => expect(b.server.counters).toMatchObject({ answered: 1, bytes: 8 * 2 ** 20 }), IN_TIME);
    await read(b, "o", size, 10, BLOCK - 10);
    await vi.waitFor(() => expect(a.server.counters).toMatchObject({ answered: 1, bytes: BLOCK - 20 }), IN_TIME);
    expect(b.cache.stats()).toMatchObject({ peerBytes: BLOCK - 20 });
  });

  it("fetches the whole group for one who will want the neighbours too", async () => {
    const owner = await cluster.node("owner");
    const other = await cluster.node("other");
    await read(other, "o", 10 * BLOCK, BLOCK, 2 * BLOCK, true);
    expect(cluster.store.ranges.map(({ begin, end }) => [begin, end])).toEqual([[0, 10 * BLOCK]]);
    expect(owner.cache.stats().memoryHeldBytes).toBe(10 * BLOCK);
    await read(other, "o", 10 * BLOCK, 5 * BLOCK, 6 * BLOCK);
    expect(cluster.store.requests).toBe(1);
  });

  it("never forwards: nodes that take each other for the owner both read the origin, once", async () => {
    const [a, b] = [await cluster.node("a"), await cluster.node("b")];
    cluster.order = (asker) => (asker === "a" ? ["b", "a"] : ["a", "b"]);
    await Promise.all([read(a, "o", 3 * BLOCK), read(b, "o", 3 * BLOCK), read(a, "o", 3 * BLOCK), read(b, "o", 3 * BLOCK)]);
    expect(cluster.store.bytes).toBe(2 * 3 * BLOCK);
    await vi.waitFor(() => expect([a, b].map(({ server }) => server.counters.answered)).toEqual([1, 1]), IN_TIME);
  });

  it("hands on how urgent a read is", async () => {
    await cluster.node("owner");
    const other = await cluster.node("other");
    const span = await other.cache.acquire(cluster.object("o", BLOCK), 0, BLOCK, { priority: 7 });
    span.release();
    expect(cluster.store.ranges).toMatchObject([{ priority: 7 }]);
  });

  it("gives up an owner's fetch when nobody waits for it any more", async () => {
    const owner = await cluster.node("owner");
    const other = await cluster.node("other");
    cluster.store.shut();
    const controller = new AbortController();
    const waiting = other.cache.acquire(cluster.object("o", BLOCK), 0, BLOCK, { priority: 0, signal: controller.signal });
    while (cluster.store.inFlight === 0) await new Promise((resolve) => setImmediate(resolve));
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    while (owner.server.counters.abandoned === 0) await new Promise((resolve) => setImmediate(resolve));
    expect(cluster.store).toMatchObject({ inFlight: 0, aborted: 1 });
    await vi.waitFor(() => expect(owner.server.inFlight).toBe(0), IN_TIME);
    await vi.waitFor(() => expect(owner.cache.stats().slab.workingBytes).toBe(0), IN_TIME);
    expect(other.client.stats().peers).toMatchObject([{ id: "owner", state: "closed", inFlight: 0 }]);
  });

  it("signs, and makes up for a clock that goes wrong", async () => {
    const secret = "one and the same secret";
    const day = 86_400_000;
    const owner = await cluster.node("owner", { auth: { secret, now: () => Date.now() + day } });
    const other = await cluster.node("other", { auth: { secret } });
    await read(other, "o", 2 * BLOCK);
    await read(other, "p", 2 * BLOCK);
    expect(other.cache.stats().peerBytes).toBe(4 * BLOCK);
    expect(other.client.stats().counters).toMatchObject({ skewRetries: 1, answered: 2 });
    expect(owner.server.counters.refused).toMatchObject({ expired: 1 });
  });

  it("does not serve who has another secret, and does not believe them", async () => {
    const owner = await cluster.node("owner", { auth: { secret: "a" } });
    const other = await cluster.node("other", { auth: { secret: "b" } });
    await read(other, "o", BLOCK);
    expect(other.cache.stats()).toMatchObject({ peerBytes: 0, originBytes: BLOCK });
    expect(other.client.stats()).toMatchObject({ counters: { fallbacks: { refused: 1 } }, peers: [{ state: "open", reason: "refused" }] });
    await vi.waitFor(() => expect(owner.server.counters).toMatchObject({ answered: 0, refused: { signature: 1 } }), IN_TIME);
  });

  it("takes no answer from one who does not show the secret", async () => {
    await cluster.node("owner");
    const other = await cluster.node("other", { auth: { secret: "b" } });
    await read(other, "o", BLOCK);
    expect(other.client.stats()).toMatchObject({ counters: { answered: 0, fallbacks: { refused: 1 } } });
    expect(other.cache.stats()).toMatchObject({ peerBytes: 0, originBytes: BLOCK });
  });

  it("serves no object that none of its own mounts holds", async () => {
    const owner = await cluster.node("owner", { server: { resolve: () => undefined } });
    const other = await cluster.node("other");
    await read(other, "o", BLOCK);
    await read(other, "p", BLOCK);
    expect(owner.server.counters.refused).toMatchObject({ object: 1 });
    expect(other.client.stats()).toMatchObject({ counters: { fallbacks: { refused: 1, open: 1 } }, peers: [{ state: "closed" }] });
    expect(other.cache.stats().originBytes).toBe(2 * BLOCK);
  });

  it.each([
    ["cache.blockSize", { blockSize: 2 * BLOCK }],
    ["hashing", { hashing: "another/1" }],
    ["protocol version", { version: 2 }],
    ["group size", { groupBytes: 4 * 2 ** 20 }],
  ])("passes over a peer of other options, and names it: %s", async (named, differing) => {
    const owner = await cluster.node("owner", { identity: differing });
    const other = await cluster.node("other");
    await read(other, "o", BLOCK);
    while (other.client.stats().peers[0]?.differs === undefined) await new Promise((resolve) => setImmediate(resolve));
    expect(other.client.stats().peers).toMatchObject([{ id: "owner", state: "open", reason: "options" }]);
    expect(other.client.stats().peers[0]?.differs).toContain(named);
    expect(other.cache.stats()).toMatchObject({ peerBytes: 0, originBytes: BLOCK });
    await vi.waitFor(() => expect(owner.server.counters).toMatchObject({ answered: 0, refused: { options: 1 } }), IN_TIME);
  });

  it("tells who it is", async () => {
    await cluster.node("owner", { identity: { weight: 3, labels: { node: "n1" } } });
    const other = await cluster.node("other");
    await expect(other.client.identify(cluster.urls.get("owner")!)).resolves.toMatchObject({
      id: "owner",
      weight: 3,
      labels: { node: "n1" },
    });
  });

  it("asks and serves over TLS, both sides with certificates", async () => {
    const { key, cert } = selfSigned();
    const tls = { key, cert, ca: cert };
    const owner = await cluster.node("owner", { tls });
    const other = await cluster.node("other", { tls });
    await read(other, "o", 3 * BLOCK);
    expect(other.cache.stats()).toMatchObject({ peerBytes: 3 * BLOCK });
    const stranger = await cluster.node("stranger");
    await read(stranger, "p", BLOCK);
    expect(stranger.cache.stats()).toMatchObject({ peerBytes: 0, originBytes: BLOCK });
    await vi.waitFor(() => expect(owner.server.counters).toMatchObject({ answered: 1, tlsFailures: 1 }), IN_TIME);
  });

  it("asks a peer for no more than its part of what a node may, where that is several processes", async () => {
    const owner = await cluster.node("owner");
    const other = await cluster.node("other");
    // By then it has answered often enough to be asked for all that it may be.
    for (let i = 0; i < 4; i++) await read(other, `first ${i}`, BLOCK);
    other.client.divide(2);
    cluster.store.shut();
    const early = Array.from({ length: 6 }, (_, i) => read(other, `early ${i}`, BLOCK));
    // Of four requests one is kept for what a loop waits for.
    await vi.waitFor(() => expect(owner.server.inFlight).toBe(3), IN_TIME);
    expect(other.client.stats().peers).toMatchObject([{ inFlight: 3, queued: 3 }]);
    other.client.divide(1);
    await vi.waitFor(() => expect(owner.server.inFlight).toBe(6), IN_TIME);
    cluster.store.open();
    await Promise.all(early);
  });

  it("keeps serving whole blocks when many ask for many, and leaves nothing leased", async () => {
    const owner = await cluster.node("owner", { blocks: 20 });
    const others = [await cluster.node("a"), await cluster.node("b")];
    await Promise.all(
      others.flatMap((node) => Array.from({ length: 40 }, (_, i) => read(node, `o${i % 10}`, 4 * BLOCK + i, i, 4 * BLOCK + i - 1))),
    );
    await vi.waitFor(() => expect(owner.server.counters.answered).toBe(80), IN_TIME);
    await vi.waitFor(() => expect(owner.server.inFlight).toBe(0), IN_TIME);
    for (const { cache } of cluster.nodes) await vi.waitFor(() => expect(cache.stats().slab.workingBytes).toBe(0), IN_TIME);
  });
});

import { afterEach, describe, expect, it, vi } from "vitest";
import type { FoundPeer } from "../../../src/peers/discovery/found-peer.js";
import type { Member } from "../../../src/peers/member.js";
import { Membership, type MembershipParts } from "../../../src/peers/membership.js";
import type { PeerIdentity } from "../../../src/peers/peer-protocol.js";
import { deferred } from "../../../src/util/deferred.js";
import { ManualClock } from "../../support/manual-clock.js";
import { identity } from "../../support/peers/nodes.js";

let membership: Membership | undefined;
afterEach(() => membership?.close());

/** What is at an address: who answers, or the error, or a promise of either. */
type Host = PeerIdentity | Error | Promise<PeerIdentity>;

const at = (port: number, more: Partial<FoundPeer> = {}): FoundPeer => ({ host: "h", port, ...more });
const url = (port: number) => `http://h:${port}`;

/** A node, what is at the addresses that it knows, and what it makes of them. `random` is in the middle. */
class Network {
  readonly clock = new ManualClock();
  readonly hosts = new Map<number, Host>();
  readonly unreachableSince = new Map<string, number>();
  readonly mistaken = new Set<string>();
  readonly asked: number[] = [];
  readonly lists: (readonly Member[])[] = [];
  readonly lines: string[] = [];
  readonly recovered = vi.fn((id: string) => void this.unreachableSince.delete(id));
  readonly changed = vi.fn((members: readonly Member[]) => void this.lists.push(members));
  #found: readonly FoundPeer[] = [];
  #announce = (): void => {};

  join(found: readonly FoundPeer[], parts: Partial<MembershipParts> = {}): Membership {
    this.#found = found;
    membership = new Membership({
      self: { ...identity("self"), url: url(1) },
      discovery: {
        members: () => this.#found,
        onChange: (listener) => {
          this.#announce = listener;
          return () => {};
        },
      },
      scheme: "http",
      identify: async (where) => this.#identify(Number(new URL(where).port)),
      unreachableSince: (id) => this.unreachableSince.get(id),
      mistaken: (id) => this.mistaken.has(id),
      recovered: this.recovered,
      changed: this.changed,
      log: (level, fields, message) => this.lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
      clock: this.clock,
      random: () => 0.5,
      ...parts,
    });
    return membership;
  }

  announce(...found: FoundPeer[]): void {
    this.#found = found;
    this.#announce();
  }

  /** Of the list in use. */
  get ids(): string[] {
    return this.lists.at(-1)!.map(({ id }) => id);
  }

  warnings(): string[] {
    return this.lines.filter((line) => line.startsWith("warn"));
  }

  #identify(port: number): PeerIdentity | Promise<PeerIdentity> {
    this.asked.push(port);
    const host = this.hosts.get(port) ?? new Error("nobody there");
    if (host instanceof Error) throw host;
    return host;
  }
}

/** A node and one other, at port 2. */
async function two(): Promise<Network> {
  const network = new Network();
  network.hosts.set(2, identity("other"));
  await network.join([at(2)]).ready;
  return network;
}

describe("a member", () => {
  it("is who answers; it is asked again after a minute", async () => {
    const { clock, asked, changed, ...network } = await two();
    expect(network.lists.at(-1)!.map(({ id }) => id)).toEqual(["other", "self"]);
    await clock.advance(59_000);
    expect(asked).toEqual([2]);
    await clock.advance(1_000);
    expect(asked).toEqual([2, 2]);
    expect(changed).toHaveBeenCalledOnce();
  });

  it("is asked at another time than the others", async () => {
    const network = new Network();
    const ports = [2, 3, 4, 5];
    for (const port of ports) network.hosts.set(port, identity(`n${port}`));
    const draws = [0, 0.25, 0.75, 0.99];
    await network.join(
      ports.map((port) => at(port)),
      { random: () => draws.shift() ?? 0.5 },
    ).ready;
    const { clock, asked } = network;
    asked.length = 0;
    const times: number[] = [];
    for (let second = 1; second <= 80; second++) {
      await clock.advance(1_000);
      times.push(...asked.splice(0).map(() => second));
    }
    expect(times).toEqual([45, 53, 68, 75]);
  });

  it("that cannot be reached for 10 s is none, and is one again when it answers", async () => {
    const network = await two();
    const { clock, hosts } = network;
    hosts.delete(2);
    network.unreachableSince.set("other", clock.now());
    await clock.advance(9_000);
    expect(network.ids).toEqual(["other", "self"]);
    await clock.advance(1_000);
    expect(network.ids).toEqual(["self"]);
    expect(membership!.strangers()).toEqual([{ url: url(2), id: undefined, reason: "nobody there" }]);
    hosts.set(2, identity("other"));
    network.unreachableSince.clear();
    await clock.advance(1_000);
    expect(network.ids).toEqual(["other", "self"]);
  });

  it("that dies while nobody reads is none 10 s after it was asked in vain", async () => {
    const network = await two();
    const { clock, hosts, asked } = network;
    hosts.delete(2);
    await clock.advance(69_000);
    expect(network.ids).toEqual(["other", "self"]);
    expect(asked).toHaveLength(11);
    await clock.advance(1_000);
    expect(network.ids).toEqual(["self"]);
  });

  it("that was left alone, and answers although nobody has read since, stays one", async () => {
    const network = await two();
    const { clock, unreachableSince, recovered } = network;
    unreachableSince.set("other", clock.now());
    await clock.advance(60_000);
    expect(recovered.mock.calls).toEqual([["other"]]);
    expect(network.lists).toHaveLength(1);
    expect(network.lines).toEqual([]);
  });

  it("gives way within a second to who answers in its place", async () => {
    const network = await two();
    const { clock, hosts, mistaken } = network;
    hosts.set(2, identity("another"));
    await clock.advance(1_000);
    expect(network.ids).toEqual(["other", "self"]);
    mistaken.add("other");
    await clock.advance(1_000);
    expect(network.ids).toEqual(["another", "self"]);
    expect(membership!.strangers()).toEqual([]);
  });
});

describe("weight and labels", () => {
  it("that have changed with a restart in place are seen within a minute", async () => {
    const { hosts, clock, lists } = await two();
    hosts.set(2, identity("other", { weight: 2, labels: { node: "b" } }));
    await clock.advance(60_000);
    expect(lists.at(-1)![0]).toEqual({ id: "other", weight: 2, labels: { node: "b" }, url: url(2) });
  });

  it("are asked for within a second where what is announced of them has changed", async () => {
    const network = new Network();
    const { hosts, clock, lists, lines } = network;
    hosts.set(2, identity("other"));
    await network.join([at(2, { id: "other", weight: 1 })]).ready;
    hosts.set(2, identity("other", { weight: 2 }));
    network.announce(at(2, { id: "other", weight: 2 }));
    await clock.advance(1_000);
    expect(lists.map((list) => list[0]!.weight)).toEqual([1, 2]);
    expect(lines).toEqual([]);
  });

  it("are what the peer says, whatever a list says; that is told once", async () => {
    const network = new Network();
    const { hosts, clock, lists, lines } = network;
    hosts.set(2, identity("other", { labels: { node: "b" } }));
    await network.join([at(2, { id: "other", weight: 3, labels: { node: "b" } })]).ready;
    await clock.advance(120_000);
    expect(lists).toEqual([[expect.objectContaining({ id: "other", weight: 1 }), expect.objectContaining({ id: "self" })]]);
    expect(lines).toEqual([expect.stringMatching(/^info .*its own word counts.*"weight":1/)]);
  });
});

describe("the list", () => {
  it("is one where all answer at once, however many", async () => {
    const network = new Network();
    const ports = Array.from({ length: 500 }, (_, i) => i + 1000);
    for (const port of ports) network.hosts.set(port, identity(`n${port}`));
    await network.join(ports.map((port) => at(port))).ready;
    await network.clock.advance(1_000);
    expect(network.lists.map((list) => list.length)).toEqual([501]);
  });

  it("has who has answered, while others keep it waiting", async () => {
    const network = new Network();
    const { clock, hosts, lists } = network;
    const [slow, late] = [deferred<PeerIdentity>(), deferred<PeerIdentity>()];
    hosts.set(2, identity("a")).set(3, identity("b")).set(4, slow.promise).set(5, late.promise);
    let ready = false;
    void network.join([at(2), at(3), at(4), at(5)]).ready.then(() => {
      ready = true;
    });
    await clock.advance(0);
    await clock.advance(99);
    expect(lists).toEqual([]);
    await clock.advance(1);
    expect(network.ids).toEqual(["a", "b", "self"]);
    slow.resolve(identity("c"));
    await clock.advance(0);
    await clock.advance(100);
    expect([network.ids, ready]).toEqual([["a", "b", "c", "self"], false]);
    late.reject(new Error("no sign of life"));
    await clock.advance(0);
    expect(ready).toBe(true);
    expect(lists).toHaveLength(2);
  });

  it("has a new peer at once, however many addresses answer nothing", async () => {
    const network = new Network();
    const { clock, hosts, asked } = network;
    const dead = Array.from({ length: 1_000 }, (_, i) => i + 1000);
    await network.join(dead.map((port) => at(port))).ready;
    const never = new Promise<never>(() => {});
    for (const port of dead) hosts.set(port, never);
    asked.length = 0;
    await clock.advance(5_000);
    expect(asked).toHaveLength(64);
    hosts.set(2, identity("new"));
    network.announce(at(2), ...dead.map((port) => at(port)));
    await clock.advance(100);
    expect(network.ids).toEqual(["new", "self"]);
  });

  it("keeps a peer that has moved until it has answered elsewhere", async () => {
    const network = new Network();
    const { clock, hosts, lists } = network;
    hosts.set(2, identity("other"));
    await network.join([at(2, { id: "other" })]).ready;
    const moved = deferred<PeerIdentity>();
    hosts.set(3, moved.promise);
    network.announce(at(3, { id: "other" }));
    await clock.advance(1_000);
    moved.resolve(identity("other"));
    await clock.advance(100);
    expect(lists.map((list) => list.map((member) => member.url))).toEqual([
      [url(2), url(1)],
      [url(3), url(1)],
    ]);
  });

  it("begins with who belonged before, and drops them where they do not answer", async () => {
    const network = new Network();
    const { clock, hosts } = network;
    const before = [2, 3, 4].map((port) => ({ id: `n${port}`, weight: 1, labels: {}, url: url(port) }));
    const slow = deferred<PeerIdentity>();
    hosts.set(2, identity("n2")).set(3, slow.promise);
    // 4 is not known to discovery any more.
    network.join([at(2), at(3)], { before });
    await clock.advance(200);
    slow.reject(new Error("nobody there"));
    await clock.advance(9_000);
    expect(network.ids).toEqual(["n2", "n3", "self"]);
    await clock.advance(2_000);
    expect(network.ids).toEqual(["n2", "self"]);
  });

  it("that cannot be used is logged once; the next one can", async () => {
    const network = new Network();
    const { clock, hosts, lines, changed } = network;
    changed.mockImplementationOnce(() => {
      throw new Error("two members have one id");
    });
    hosts.set(2, identity("a"));
    await network.join([at(2)]).ready;
    await clock.advance(5_000);
    expect(network.lists).toEqual([]);
    expect(lines).toEqual([expect.stringMatching(/^error .*the one before stays.*two members have one id/)]);
    hosts.set(3, identity("b"));
    network.announce(at(2), at(3));
    await clock.advance(1_000);
    expect(network.ids).toEqual(["a", "b", "self"]);
  });
});

describe("the log", () => {
  it("tells of a stranger once, whatever it says each time, and again after it was a member", async () => {
    const network = new Network();
    const { clock, hosts } = network;
    await network.join([at(2)]).ready;
    for (const error of ["connection refused", "no sign of life in time", "connection refused"]) {
      hosts.set(2, new Error(error));
      await clock.advance(1_000);
    }
    expect(network.warnings()).toHaveLength(1);
    hosts.set(2, identity("other", { blockSize: 1 }));
    await clock.advance(3_000);
    expect(network.warnings()).toEqual([expect.stringContaining("nobody there"), expect.stringContaining("it differs in cache.blockSize")]);
    hosts.set(2, identity("other"));
    await clock.advance(1_000);
    hosts.set(2, identity("other", { blockSize: 1 }));
    network.mistaken.add("other");
    await clock.advance(3_000);
    expect(network.warnings()).toHaveLength(3);
  });
});

describe("two nodes with one id", () => {
  const here = { ...identity("self", { instance: "mine" }), url: url(1) };

  it("are one member and a stranger, with one warning, until one of them has another id", async () => {
    const network = new Network();
    const { clock, hosts } = network;
    hosts.set(2, identity("x", { instance: "2" })).set(3, identity("x", { instance: "3" }));
    await network.join([at(2), at(3)]).ready;
    await clock.advance(120_000);
    expect(network.lists).toHaveLength(1);
    expect(network.lists[0]!.map((member) => member.url)).toEqual([url(1), url(2)]);
    expect(network.warnings()).toEqual([
      expect.stringMatching(/two nodes have the id x, http:\/\/h:3 and http:\/\/h:2: delete the file node-id/),
    ]);
    hosts.set(3, identity("y", { instance: "4" }));
    await clock.advance(1_000);
    expect(network.ids).toEqual(["self", "x", "y"]);
  });

  it("are found where this node is one of them", async () => {
    const network = new Network();
    network.hosts.set(2, identity("self", { instance: "other" }));
    await network.join([at(2)], { self: here }).ready;
    await network.clock.advance(60_000);
    expect(network.lists).toEqual([[expect.objectContaining({ id: "self", url: url(1) })]]);
    expect(network.warnings()).toEqual([expect.stringContaining("two nodes have the id self, http://h:2 and this node")]);
  });

  it("are not this node under two addresses, nor another process of it", async () => {
    const network = new Network();
    network.hosts.set(2, identity("self", { instance: "mine" }));
    await network.join([at(2)], { self: here }).ready;
    await network.join([at(2)]).ready;
    expect(network.lines).toEqual([]);
    expect(membership!.strangers()).toEqual([]);
  });

  it("are not one with two addresses", async () => {
    const network = new Network();
    const { clock, hosts, unreachableSince } = network;
    hosts.set(2, identity("x", { instance: "1" })).set(3, identity("x", { instance: "1" }));
    await network.join([at(2), at(3)]).ready;
    await clock.advance(60_000);
    expect(network.lists.map((list) => list.map((member) => member.url))).toEqual([[url(1), url(2)]]);
    // Where one address fails there is the other.
    hosts.delete(2);
    unreachableSince.set("x", clock.now());
    await clock.advance(11_000);
    expect(network.lists.at(-1)!.map((member) => member.url)).toEqual([url(1), url(3)]);
  });

  it("are not one that was started anew at another address: it is asked there at once", async () => {
    const network = new Network();
    const { clock, hosts } = network;
    hosts.set(2, identity("x", { instance: "1" }));
    await network.join([at(2)]).ready;
    hosts.delete(2);
    hosts.set(3, identity("x", { instance: "2" }));
    network.announce(at(2), at(3));
    await clock.advance(100);
    expect(network.lists.map((list) => list.map((member) => member.url))).toEqual([
      [url(1), url(2)],
      [url(1), url(3)],
    ]);
    expect(network.lines.filter((line) => line.includes("node-id"))).toEqual([]);
  });
});

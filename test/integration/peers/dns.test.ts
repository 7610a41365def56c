/** Discovery by DNS, against Debian's dnsmasq. */
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { DnsEngine } from "../../../src/peers/discovery/dns-engine.js";
import { openOne } from "../../support/peers/discovery.js";
import { TestDns } from "../../support/peers/dnsmasq.js";

const THREE = ["10.0.0.1 peers.test node-1.test", "10.0.0.2 peers.test node-2.test", "10.0.0.3 peers.test node-3.test"];
const SRV = ["_millrace._tcp.test,node-2.test,7071", "_millrace._tcp.test,node-3.test,7072"];

let dns: TestDns;
beforeAll(async () => {
  dns = await TestDns.start({ hosts: THREE });
}, 120_000);
afterAll(() => dns.close());

test("finds the addresses of a name, this process left out, and follows changes", async () => {
  await dns.restart({ hosts: THREE });
  const { discovery, log, nextLook, found } = await openOne(`dns://peers.test:7070?server=${dns.server}`);
  expect(found()).toEqual(["10.0.0.2 7070", "10.0.0.3 7070"]);
  const changes = vi.fn();
  discovery.onChange(changes);
  await dns.reload([...THREE.slice(0, 2), "10.0.0.9 peers.test"]);
  await nextLook();
  expect(found()).toEqual(["10.0.0.2 7070", "10.0.0.9 7070"]);
  expect(changes).toHaveBeenCalledTimes(1);
  await nextLook();
  expect(changes).toHaveBeenCalledTimes(1);
  expect(log.lines).toEqual([]);
});

test.each([
  [0, 5_000],
  [23, 23_000],
  [3_600, 60_000],
])("with a TTL of %d s it looks again after %d ms", async (ttl, ms) => {
  await dns.restart({ hosts: THREE, srv: SRV, ttl });
  for (const uri of ["dns://peers.test:7070", "dns://_millrace._tcp.test"]) {
    const { clock } = await openOne(`${uri}?server=${dns.server}`);
    expect(clock.sleeps.at(-1)).toBe(ms);
  }
});

test("SRV records give the port of each, and changes of them are seen", async () => {
  await dns.restart({ hosts: THREE, srv: SRV });
  const { nextLook, found } = await openOne(`dns://_millrace._tcp.test?server=${dns.server}`);
  expect(found()).toEqual(["10.0.0.2 7071", "10.0.0.3 7072"]);
  await dns.restart({ hosts: THREE, srv: [...SRV, "_millrace._tcp.test,node-1.test,7073"] });
  await nextLook();
  expect(found()).toEqual(["10.0.0.1 7073", "10.0.0.2 7071", "10.0.0.3 7072"]);
});

test("a service's target without an address is left out and told", async () => {
  await dns.restart({ hosts: THREE, srv: [...SRV, "_millrace._tcp.test,gone.test,7073"] });
  const { discovery, log, found } = await openOne(`dns://_millrace._tcp.test?server=${dns.server}`);
  expect(found()).toEqual(["10.0.0.2 7071", "10.0.0.3 7072"]);
  expect(discovery.stats()).toMatchObject([{ ignored: 1, failures: 0, failing: false }]);
  expect(log.of("warn")).toHaveLength(1);
  expect(log.of("warn")[0]).toContain("gone.test");
});

test("IPv6 counts where there is no IPv4", async () => {
  await dns.restart({ hosts: ["10.0.0.5 both.test", "2001:db8::5 both.test", "2001:db8::6 six.test", "2001:db8::7 six.test"] });
  const six = await openOne(`dns://six.test:7070?server=${dns.server}`);
  expect(six.found()).toEqual(["2001:db8::6 7070", "2001:db8::7 7070"]);
  const both = await openOne(`dns://both.test:7070?server=${dns.server}`);
  expect(both.found()).toEqual(["10.0.0.5 7070"]);
});

test("an answer that does not fit into a datagram comes whole", async () => {
  const hosts = Array.from({ length: 500 }, (_, i) => `10.1.${i >> 8}.${i & 255} many.test`);
  await dns.restart({ hosts });
  const { found } = await openOne(`dns://many.test:7070?server=${dns.server}`);
  expect(found().sort()).toEqual(hosts.map((line) => `${line.split(" ")[0]} 7070`).sort());
});

test("a name that the resolver does not know is a failure that says what to do, and is found when it comes", async () => {
  await dns.restart({ hosts: THREE });
  const { discovery, log, nextLook, found } = await openOne(`dns://later.test:7070?server=${dns.server}`);
  expect(discovery.members()).toEqual([]);
  expect(discovery.stats()).toMatchObject([{ failures: 1, failing: true }]);
  expect(log.of("warn")).toHaveLength(1);
  expect(log.of("warn")[0]).toContain("the resolver knows no later.test; write names in full");
  await dns.reload(["10.0.0.7 later.test"]);
  await nextLook();
  expect(found()).toEqual(["10.0.0.7 7070"]);
  expect(log.of("info")).toHaveLength(1);
});

test("a resolver that is lost leaves the last list in use, and is asked again when it is back", async () => {
  await dns.restart({ hosts: THREE });
  const { discovery, nextLook, log, found } = await openOne(`dns://peers.test:7070?server=${dns.server}`);
  await dns.stop();
  for (let i = 0; i < 3; i++) await nextLook();
  expect(found()).toEqual(["10.0.0.2 7070", "10.0.0.3 7070"]);
  expect(discovery.stats()).toMatchObject([{ looks: 4, failures: 3, failing: true, peers: 3 }]);
  await dns.restart({ hosts: [...THREE, "10.0.0.4 peers.test"] });
  await nextLook();
  expect(found()).toEqual(["10.0.0.2 7070", "10.0.0.3 7070", "10.0.0.4 7070"]);
  expect(discovery.stats()).toMatchObject([{ failures: 3, failing: false }]);
  expect(log.of("warn")).toHaveLength(1);
});

test("a resolver that says nothing costs the limit of a look, and closing does not wait for it", async () => {
  await dns.restart({ hosts: THREE });
  const { clock, discovery, found } = await openOne(`dns://peers.test:7070?server=${dns.server}`);
  dns.freeze();
  await clock.advance(5_000);
  expect(discovery.stats()).toMatchObject([{ looks: 2, failures: 0 }]);
  await clock.advance(10_000);
  expect(discovery.stats()).toMatchObject([{ failures: 1, lastError: expect.stringContaining("no answer in 10 s") }]);
  expect(found()).toEqual(["10.0.0.2 7070", "10.0.0.3 7070"]);
  await clock.advance(1_000);
  expect(discovery.stats()).toMatchObject([{ looks: 3 }]);
  await discovery.close();
  expect(clock.pending).toBe(0);
  dns.thaw();
});

test("a look that is given up asks no more", async () => {
  const silent = createSocket("udp4").bind(0, "127.0.0.1");
  await once(silent, "listening");
  const giveUp = new AbortController();
  const servers = [`127.0.0.1:${silent.address().port}`];
  const look = new DnsEngine({ kind: "dns", name: "peers.test", type: "a", port: 7070, servers }).find(giveUp.signal);
  look.catch(() => {});
  await once(silent, "message");
  giveUp.abort();
  await expect(look).rejects.toThrow("ECANCELLED");
  silent.close();
});

import { expect, test } from "vitest";
import { isMillraceError } from "../../../../src/errors.js";
import { type DiscoverSpec, parseDiscover } from "../../../../src/peers/discovery/discover-spec.js";

const redis = {
  kind: "redis",
  host: "cache",
  port: 6379,
  tls: false,
  username: undefined,
  password: undefined,
  database: 0,
  prefix: "millrace",
};
const dns = { kind: "dns", name: "peers.example", type: "a", port: 7070, servers: [] };

test.each<[string | readonly string[], readonly object[]]>([
  ["node1:7070", [{ kind: "static", addresses: [{ host: "node1", port: 7070 }] }]],
  [
    " Node1:7070 , 10.0.0.2:7071,[2001:DB8:0::1]:7072",
    [
      {
        kind: "static",
        addresses: [
          { host: "node1", port: 7070 },
          { host: "10.0.0.2", port: 7071 },
          { host: "2001:db8::1", port: 7072 },
        ],
      },
    ],
  ],
  [
    ["file:/a/b.json", "node1:1", "node2:2"],
    [
      {
        kind: "static",
        addresses: [
          { host: "node1", port: 1 },
          { host: "node2", port: 2 },
        ],
      },
      { kind: "file", path: "/a/b.json" },
    ],
  ],
  ["file:///a/b.json", [{ kind: "file", path: "/a/b.json" }]],
  ["file:b.json", [{ kind: "file", path: `${process.cwd()}/b.json` }]],
  ["dns://peers.example:7070", [dns]],
  ["dns://Peers.Example:7070/?type=a", [dns]],
  ["dns://_millrace._tcp.svc.example", [{ ...dns, name: "_millrace._tcp.svc.example", type: "srv", port: 0 }]],
  ["dns://peers.example?type=srv", [{ ...dns, type: "srv", port: 0 }]],
  ["dns://peers.example:7070?server=127.0.0.1:5353,[::1]:53,10.0.0.1", [{ ...dns, servers: ["127.0.0.1:5353", "[::1]:53", "10.0.0.1"] }]],
  ["redis://cache", [redis]],
  ["redis://cache:7000/3?prefix=job-1", [{ ...redis, port: 7000, database: 3, prefix: "job-1" }]],
  ["rediss://user:p%40ss%3A%2F@[::1]:7000", [{ ...redis, host: "::1", port: 7000, tls: true, username: "user", password: "p@ss:/" }]],
  ["redis://:secret@cache/", [{ ...redis, password: "secret" }]],
])("%j", (value, specs) => {
  expect(parseDiscover(value)).toEqual(specs as DiscoverSpec[]);
});

const FORMS = "host:port,host:port, dns://name:port, redis://host:port/0 or file:/path/members.json";

test.each<[string | readonly string[], string]>([
  [[], `peers.discover: expected ${FORMS}, or several of them`],
  ["", 'peers.discover: "": expected host:port'],
  ["node1", 'peers.discover: "node1": expected host:port'],
  ["node1:7070,", 'peers.discover: "": expected host:port'],
  ["node1:0", 'peers.discover: "node1:0": expected host:port'],
  ["node1:65536", 'peers.discover: "node1:65536": expected host:port'],
  ["10.0.0.256:1", 'peers.discover: "10.0.0.256:1": expected host:port'],
  ["[::g]:1", 'peers.discover: "[::g]:1": expected host:port'],
  ["::1:7070", 'peers.discover: "::1:7070": expected host:port'],
  ["user:secret@node1:7070", 'peers.discover: "***@node1:7070": expected host:port,host:port'],
  [["a:1", "b"], 'peers.discover[1]: "b": expected host:port'],
  ["http://node1:7070", `peers.discover: "http://node1:7070": expected ${FORMS}`],
  ["file:/a/", 'peers.discover: "file:/a/": expected a file'],
  ["dns://10.0.0.1:7070", 'peers.discover: "dns://10.0.0.1:7070": expected a name to look up'],
  ["dns://[::1]:7070", 'peers.discover: "dns://[::1]:7070": expected a name to look up'],
  ["dns://:7070", "not a URI"],
  ["dns://peers.example", "expected the peers' port"],
  ["dns://peers.example:0", "expected a port from 1 to 65535"],
  ["dns://_a._tcp.example:7070", "leave it out"],
  ["dns://peers.example:7070/path", "expected no path"],
  ["dns://peers.example:7070?type=mx", "type: expected a or srv"],
  ["dns://peers.example:7070?server=resolver.example", "server: expected an IP address"],
  ["dns://peers.example:7070?ttl=1", "expected no other parameters than ?type= and ?server="],
  ["dns://user:secret@peers.example:7070", "DNS takes no credentials"],
  ["redis://cache:7000/db", "expected the number of a database"],
  ["redis://cache:7000/0/1", "expected the number of a database"],
  ["redis://user@cache", "the password is missing"],
  ["redis://:secret%@cache", "percent-encode"],
  ["redis://:sec#ret@cache", "percent-encode"],
  ["redis://:sec?ret@cache", "percent-encode"],
  ["redis://:secret@cache?prefix=a%20b", "prefix: expected"],
  ["redis://:secret@cache?perfix=a", "expected no other parameters than ?prefix="],
  ["redis:///0", "expected a host"],
])("%j is refused", (value, message) => {
  let error: unknown;
  try {
    parseDiscover(value);
  } catch (thrown) {
    error = thrown;
  }
  expect(isMillraceError(error, "MILLRACE_CONFIG")).toBe(true);
  expect((error as Error).message).toContain(message);
  expect((error as Error).message).toMatch(/^peers\.discover/);
  expect((error as Error).message).not.toMatch(/sec/);
});

/** The option `peers.discover`, checked once and taken apart. Specs are plain data: they cross to the engine's thread. */
import { isIP } from "node:net";
import { MillraceError } from "../../errors.js";
import { parseUri } from "../../storage/uri.js";
import { type Address, isHostName, parseAddress } from "./address.js";

export interface StaticSpec {
  readonly kind: "static";
  readonly addresses: readonly Address[];
}
export interface DnsSpec {
  readonly kind: "dns";
  readonly name: string;
  /** `a`: A records, and AAAA where there are none. */
  readonly type: "a" | "srv";
  /** Of all addresses found; 0 for `srv`, whose records carry it. */
  readonly port: number;
  /** Asked instead of the system's: `address` or `address:port`. */
  readonly servers: readonly string[];
}
export interface RedisSpec {
  readonly kind: "redis";
  readonly host: string;
  readonly port: number;
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly database: number;
  /** Keys are `<prefix>:peers` and `<prefix>:peer:<id>`. */
  readonly prefix: string;
}
export interface FileSpec {
  readonly kind: "file";
  /** Absolute. */
  readonly path: string;
}
export type DiscoverSpec = StaticSpec | DnsSpec | RedisSpec | FileSpec;

const FORMS = "host:port,host:port, dns://name:port, redis://host:port/0 or file:/path/members.json";
const REDIS_PORT = 6379;

/**
 * The engines of `peers.discover`, which is one of them or several. Addresses written out are one spec, whose place is first.
 * Throws MILLRACE_CONFIG, naming the option; credentials are left out of the message.
 */
export function parseDiscover(value: string | readonly string[]): DiscoverSpec[] {
  const given = typeof value === "string" ? [value] : value;
  if (given.length === 0) throw new MillraceError("MILLRACE_CONFIG", `peers.discover: expected ${FORMS}, or several of them`);
  const specs = given.map((text, i) => parseOne(text.trim(), typeof value === "string" ? "peers.discover" : `peers.discover[${i}]`));
  const addresses = specs.flatMap((spec) => (spec.kind === "static" ? spec.addresses : []));
  const others = specs.filter((spec) => spec.kind !== "static");
  return addresses.length === 0 ? others : [{ kind: "static", addresses }, ...others];
}

function parseOne(text: string, option: string): DiscoverSpec {
  if (/^file:/i.test(text)) return fileSpec(text, option);
  if (!text.includes("://")) return staticSpec(text, option);
  const fail = failure(option, text);
  if (!URL.canParse(text)) throw fail("not a URI; in user names and passwords, percent-encode all but letters and digits");
  const uri = new URL(text);
  if (uri.hash !== "") throw fail("what follows # means nothing here; percent-encode it in user names and passwords");
  if (uri.protocol === "dns:") return dnsSpec(uri, fail);
  if (uri.protocol === "redis:" || uri.protocol === "rediss:") return redisSpec(uri, fail);
  throw fail(`expected ${FORMS}`);
}

type Fail = (what: string) => MillraceError;

function failure(option: string, text: string): Fail {
  return (what) => new MillraceError("MILLRACE_CONFIG", `${option}: "${withoutSecrets(text)}": ${what}`);
}

/** What may stand in a message even where the text could not be taken apart: nothing before the last @, no query. */
function withoutSecrets(text: string): string {
  return text.replace(/^([a-z][a-z0-9+.-]*:\/\/)?.*@/is, "$1***@").replace(/[?#].*$/s, "");
}

function staticSpec(text: string, option: string): StaticSpec {
  // Perhaps a mistyped URI: cut at its commas, parts of a password would stand alone.
  if (text.includes("@")) throw failure(option, text)(`expected ${FORMS}`);
  const addresses = text.split(",").map((item) => {
    const address = parseAddress(item.trim());
    if (address === undefined) throw failure(option, item.trim())(`expected host:port, IPv6 as [address]:port; or ${FORMS}`);
    return address;
  });
  return { kind: "static", addresses };
}

function fileSpec(text: string, option: string): FileSpec {
  // parseUri refuses it too, but knows neither the option nor that there may be a password.
  if (/^file:\/\/[^/]/i.test(text)) throw failure(option, text)("a file has no host: file:/path/members.json");
  const { path } = parseUri(text);
  if (path === "" || path.endsWith("/")) throw failure(option, text)("expected a file: file:/path/members.json");
  return { kind: "file", path: `/${path}` };
}

function dnsSpec(uri: URL, fail: Fail): DnsSpec {
  checkParameters(uri, ["type", "server"], fail);
  if (uri.username !== "" || uri.password !== "") throw fail("DNS takes no credentials");
  if (uri.pathname !== "" && uri.pathname !== "/") throw fail("expected no path: dns://name:port; a server is given by ?server=");
  const name = uri.hostname.toLowerCase();
  if (!isHostName(name) || isIP(name) !== 0) throw fail("expected a name to look up: dns://name:port; addresses are written host:port");
  const type = uri.searchParams.get("type") ?? (name.startsWith("_") ? "srv" : "a");
  if (type !== "a" && type !== "srv") throw fail("type: expected a or srv");
  const port = portOf(uri, fail);
  if (type === "a" && port === undefined) throw fail("expected the peers' port: dns://name:port");
  if (type === "srv" && port !== undefined) throw fail("SRV records carry the port: leave it out");
  return { kind: "dns", name, type, port: port ?? 0, servers: serversOf(uri, fail) };
}

/** The resolver must not need a resolver to be found. */
function serversOf(uri: URL, fail: Fail): string[] {
  const given = uri.searchParams.get("server")?.split(",") ?? [];
  for (const server of given)
    if (isIP(server) === 0 && isIP(parseAddress(server)?.host ?? "") === 0)
      throw fail("server: expected an IP address, with a port where it is not 53, such as 127.0.0.1:5353");
  return given;
}

function redisSpec(uri: URL, fail: Fail): RedisSpec {
  checkParameters(uri, ["prefix"], fail);
  const host = uri.hostname.replace(/^\[(.*)\]$/, "$1").toLowerCase();
  if (isIP(host) === 0 && !isHostName(host)) throw fail("expected a host: redis://host:port/0");
  const [username, password] = [decoded(uri.username, fail), decoded(uri.password, fail)];
  if (username !== "" && password === "") throw fail("the password is missing: redis://user:password@host, or redis://:password@host");
  const path = /^\/?(\d{0,5})$/.exec(uri.pathname);
  if (path === null) throw fail("expected the number of a database: redis://host:port/0");
  const prefix = uri.searchParams.get("prefix") ?? "millrace";
  if (!/^[\w.:/{}-]{1,128}$/.test(prefix)) throw fail("prefix: expected up to 128 letters, digits and . : / { } _ -");
  return {
    kind: "redis",
    host,
    port: portOf(uri, fail) ?? REDIS_PORT,
    tls: uri.protocol === "rediss:",
    username: username || undefined,
    password: password || undefined,
    database: Number(path[1]),
    prefix,
  };
}

function portOf(uri: URL, fail: Fail): number | undefined {
  if (uri.port === "0") throw fail("expected a port from 1 to 65535");
  return uri.port === "" ? undefined : Number(uri.port);
}

function decoded(text: string, fail: Fail): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw fail("in user names and passwords, percent-encode all but letters and digits");
  }
}

function checkParameters(uri: URL, known: readonly string[], fail: Fail): void {
  const unknown = [...new Set(uri.searchParams.keys())].filter((name) => !known.includes(name));
  // A password that holds a ? ends up here: names are shown only where no credentials can be among them.
  if (unknown.length > 0) throw fail(`expected no other parameters than ${known.map((name) => `?${name}=`).join(" and ")}`);
}

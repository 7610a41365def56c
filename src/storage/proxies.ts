import { BlockList, isIP } from "node:net";
import { MillraceError } from "../errors.js";

/** A host that is asked directly. */
interface Exemption {
  /** Without a leading dot; it and all names below it are meant. */
  readonly name: string;
  /** `undefined`: any. */
  readonly port: string | undefined;
}

/** Proxies are for other machines: none can reach this one's own servers. */
const LOOPBACK = "localhost,127.0.0.0/8,::1";
const DEFAULT_PORTS: Readonly<Record<string, string>> = { "http:": "80", "https:": "443" };

/**
 * Which proxy an origin is asked through, by HTTP_PROXY, HTTPS_PROXY and NO_PROXY as curl and most tools read them: lower case goes first; NO_PROXY
 * holds names (with all below them; a leading `.` or `*.` changes nothing), addresses, networks (`10.0.0.0/8`), each with a port where it has one, or `*`.
 */
export class Proxies {
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #exempt: readonly Exemption[];
  readonly #networks = new BlockList();
  readonly #known = new Map<string, string | undefined>();

  /** Default: none. The values are read here and now. */
  constructor(env: Readonly<Record<string, string | undefined>> = {}) {
    const { http_proxy, HTTP_PROXY, https_proxy, HTTPS_PROXY, no_proxy, NO_PROXY } = env;
    this.#env = { "http:": http_proxy || HTTP_PROXY, "https:": https_proxy || HTTPS_PROXY };
    const entries = `${LOOPBACK},${no_proxy || NO_PROXY || ""}`.split(/[\s,]+/).filter((entry) => entry !== "");
    this.#exempt = entries.filter((entry) => !this.#addNetwork(entry)).map(exemption);
  }

  /** The proxy of `https://host:port`, as a URL; undefined where it is asked directly. Throws MILLRACE_CONFIG where the variable holds no such URL. */
  for(origin: string): string | undefined {
    if (!this.#known.has(origin)) this.#known.set(origin, this.#find(new URL(origin)));
    return this.#known.get(origin);
  }

  #find({ protocol, hostname, port }: URL): string | undefined {
    const proxy = this.#env[protocol];
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    return !proxy || this.#isExempt(host, port || DEFAULT_PORTS[protocol]!) ? undefined : proxyUrl(proxy, protocol);
  }

  #isExempt(host: string, port: string): boolean {
    const version = isIP(host);
    if (version !== 0 && this.#networks.check(host, version === 4 ? "ipv4" : "ipv6")) return true;
    return this.#exempt.some(
      (one) => (one.port ?? port) === port && (one.name === "*" || one.name === host || host.endsWith(`.${one.name}`)),
    );
  }

  /** False where the entry is neither an address nor a network. */
  #addNetwork(entry: string): boolean {
    const [address, prefix, more] = entry.split("/") as [string, string?, string?];
    const version = isIP(address);
    const bits = prefix === undefined ? (version === 4 ? 32 : 128) : Number(prefix);
    if (version === 0 || more !== undefined || !(bits >= 0 && bits <= (version === 4 ? 32 : 128))) return false;
    this.#networks.addSubnet(address, bits, version === 4 ? "ipv4" : "ipv6");
    return true;
  }
}

function exemption(entry: string): Exemption {
  const [, name, port] = /^(.*?)(?::(\d+))?$/s.exec(entry)!;
  return {
    name: name!
      .replace(/^\[(.*)\]$/, "$1")
      .replace(/^\*?\./, "")
      .toLowerCase(),
    port,
  };
}

function proxyUrl(value: string, protocol: string): string {
  const text = value.includes("://") ? value : `http://${value}`;
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text;
  const name = `${protocol.slice(0, -1).toUpperCase()}_PROXY`;
  throw new MillraceError("MILLRACE_CONFIG", `${name}: expected the URL of an http or https proxy, such as http://proxy.example:3128`);
}

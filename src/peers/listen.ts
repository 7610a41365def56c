/** Where a peer listens, and whether it may. */
import { BlockList, isIP } from "node:net";
import { MillraceError } from "../errors.js";

/** A peer's own certificate, and whose certificates it accepts: both sides show one. */
export interface PeerTls {
  /** PEM. */
  readonly key: string | Buffer;
  readonly cert: string | Buffer;
  /** PEM of the authority that has signed every peer's certificate. */
  readonly ca: string | Buffer;
  /** The name in every peer's certificate, whatever its address. Default: the host of its URL. */
  readonly servername?: string | undefined;
}

export interface ListenAddress {
  /** Without brackets; undefined: every address of this machine. */
  readonly host: string | undefined;
  /** 0: the system chooses. */
  readonly port: number;
}

const LOOPBACK: BlockList = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addSubnet("::ffff:127.0.0.0", 104, "ipv6");
LOOPBACK.addAddress("::1", "ipv6");

/** `host:port`, `[IPv6]:port` or `:port`. Throws MILLRACE_CONFIG for anything else, naming the option. */
export function parseListen(listen: string, option = "peers.listen"): ListenAddress {
  const [, inBrackets, name, digits] = /^(?:\[([^\]]+)\]|([^:[\]/]*)):(\d{1,5})$/.exec(listen) ?? [];
  const port = Number(digits);
  if (!(port <= 65_535) || (inBrackets !== undefined && isIP(inBrackets) !== 6))
    throw new MillraceError("MILLRACE_CONFIG", `${option}: expected host:port, [IPv6]:port or :port, got ${JSON.stringify(listen)}`);
  return { host: (inBrackets ?? name) || undefined, port };
}

/**
 * The address to listen at. Throws MILLRACE_CONFIG where others than this machine could reach it and neither a secret nor certificates
 * tell peers from strangers.
 */
export function checkListen(listen: string, secret: string | undefined, tls: PeerTls | undefined): ListenAddress {
  const address = parseListen(listen);
  if (secret === "") throw new MillraceError("MILLRACE_CONFIG", "peers.secret: it is empty; set the same secret on every peer, or none");
  if (secret === undefined && tls === undefined && !isLoopback(address.host))
    throw new MillraceError(
      "MILLRACE_CONFIG",
      `peers.listen: ${listen} can be reached from other machines: set peers.secret to the same secret on every peer, or use TLS; or listen at 127.0.0.1`,
    );
  return address;
}

function isLoopback(host: string | undefined): boolean {
  if (host === undefined) return false;
  const family = isIP(host);
  // Other names may lead anywhere, now or later.
  return family === 0 ? host.toLowerCase() === "localhost" : LOOPBACK.check(host, family === 4 ? "ipv4" : "ipv6");
}

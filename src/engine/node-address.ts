/** Where the others reach a node. */
import { networkInterfaces } from "node:os";
import { MillraceError } from "../errors.js";
import type { PeersConfig } from "../options.js";
import { formatAddress, parseAddress } from "../peers/discovery/address.js";
import type { ListenAddress } from "../peers/listen.js";

/** Of a process that only asks: no other can have it. */
const NOWHERE = "http://0.0.0.0:1";

type Advertised = Pick<PeersConfig, "advertise" | "tls">;

/** The URL of who listens at `host:port`. Throws MILLRACE_CONFIG where `advertise` is no address. */
export function advertisedUrl({ advertise, tls }: Advertised, { host, port }: { readonly host: string; readonly port: number }): string {
  const scheme = tls === undefined ? "http" : "https";
  if (advertise === undefined) return `${scheme}://${formatAddress({ host: reachable(host), port })}`;
  const address = parseAddress(advertise) ?? parseAddress(formatAddress({ host: advertise, port }));
  if (address === undefined)
    throw new MillraceError("MILLRACE_CONFIG", `peers.advertise: expected a host, or host:port, got ${JSON.stringify(advertise)}`);
  return `${scheme}://${formatAddress(address)}`;
}

/** The URL by which a node is reached through another of its processes; empty where only that one knows its port. `listen` undefined: it only asks. */
export function nodeUrl(config: Advertised, listen: ListenAddress | undefined): string {
  if (listen === undefined) return NOWHERE;
  const { host = "::", port } = listen;
  return port === 0 ? "" : advertisedUrl(config, { host, port });
}

/** Every address of this machine is listened at: the first that others may reach. */
function reachable(host: string): string {
  if (host !== "0.0.0.0" && host !== "::") return host;
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outer = addresses.filter(({ internal }) => !internal);
  return (outer.find(({ family }) => family === "IPv4") ?? outer[0])?.address ?? "127.0.0.1";
}

import { connect as connectTcp, isIP, type OnReadOpts, type Socket } from "node:net";
import { type ConnectionOptions, connect as connectTls } from "node:tls";

/** A client's own certificate, whom it trusts, and the name that servers' certificates are to bear whatever their address. */
export type ClientTls = Pick<ConnectionOptions, "key" | "cert" | "ca" | "servername">;

/** A server, as a socket needs to know it. */
export interface Endpoint {
  readonly secure: boolean;
  /** A name or an address, without brackets. */
  readonly host: string;
  readonly port: number;
  /** The latest TLS session: a new connection takes it up again, which saves most of the handshake. */
  session: Buffer | undefined;
  readonly tls: ClientTls | undefined;
}

export function endpointOf({ protocol, hostname, port }: URL, tls?: ClientTls): Endpoint {
  const secure = protocol === "https:";
  return { secure, host: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port || (secure ? 443 : 80)), session: undefined, tls };
}

/** Begins to connect. Certificates are checked as Node does by default, those of NODE_EXTRA_CA_CERTS trusted. */
export function openSocket(endpoint: Endpoint, onread: OnReadOpts): Socket {
  const { secure, host, port, session, tls } = endpoint;
  if (!secure) return connectTcp({ host, port, onread }).setNoDelay();
  // Addresses have no place in SNI.
  const servername = isIP(host) === 0 ? host : undefined;
  const options = {
    host,
    port,
    onread,
    ALPNProtocols: ["http/1.1"],
    ...(servername && { servername }),
    ...tls,
    ...(session && { session }),
  };
  const socket = connectTls(options).setNoDelay();
  socket.on("session", (latest) => {
    endpoint.session = latest;
  });
  return socket;
}

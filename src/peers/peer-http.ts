/** The HTTP server under a peer, with bounds on what a connection may take before a request is there. */
import { createServer, type RequestListener, type Server, type ServerOptions } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { Socket } from "node:net";
import type { PeerTls } from "./listen.js";

/** Of a request: S3 keys have 1 KiB, percent-encoded 3, and there are URLs that are longer. */
const MAX_HEAD_BYTES = 16 * 1024;
/** Until a request's head is there, milliseconds. */
const HEAD_MS = 5_000;
/**
 * How long an asker keeps an idle connection, milliseconds, and the server, which is not to be the one who closes. A loop's pauses are shorter, and
 * to connect anew costs most when a peer is busiest: its loop takes one connection a turn.
 */
export const KEPT_MS = 60_000;
const IDLE_MS = KEPT_MS + 10_000;

/** Neither it nor its connections keep the process alive. */
export function peerHttpServer(listener: RequestListener, tls: PeerTls | undefined): Server {
  const options: ServerOptions = {
    maxHeaderSize: MAX_HEAD_BYTES,
    headersTimeout: HEAD_MS,
    requestTimeout: HEAD_MS,
    keepAliveTimeout: IDLE_MS,
    connectionsCheckingInterval: HEAD_MS / 5,
    noDelay: true,
  };
  const secure = tls && { ...options, ...bothSides(tls), handshakeTimeout: HEAD_MS };
  const server = secure === undefined ? createServer(options, listener) : createTlsServer(secure, listener);
  server.on("connection", (socket: Socket) => socket.unref());
  return server.unref();
}

/** An asker without a certificate of the authority gets no connection. */
function bothSides({ key, cert, ca }: PeerTls) {
  return { key, cert, ca, requestCert: true, rejectUnauthorized: true, ALPNProtocols: ["http/1.1"] } as const;
}

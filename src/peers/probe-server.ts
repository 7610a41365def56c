/** `/healthz` and `/readyz` without TLS, for those who run the process and have no certificate: kubelet's probes. It answers nothing else. */
import { once } from "node:events";
import type { Server } from "node:http";
import { MillraceError } from "../errors.js";
import { parseListen } from "./listen.js";
import { peerHttpServer } from "./peer-http.js";

/** Far more than probe a node at one time. */
const MAX_CONNECTIONS = 64;

export class ProbeServer {
  readonly #server: Server;
  #ready = true;
  #closed: Promise<unknown> | undefined;

  /** Listens at `host:port`, `[IPv6]:port` or `:port`. Throws MILLRACE_CONFIG where that is none of these, or taken. */
  static async start(listen: string): Promise<ProbeServer> {
    const { host, port } = parseListen(listen, "peers.health");
    const probes = new ProbeServer();
    probes.#server.listen({ port, ...(host !== undefined && { host }) });
    try {
      await once(probes.#server, "listening");
    } catch (cause) {
      const { message } = cause as Error;
      throw new MillraceError("MILLRACE_CONFIG", `peers.health: cannot listen at ${listen} (${message})`, { cause });
    }
    return probes;
  }

  private constructor() {
    this.#server = peerHttpServer(({ url }, response) => {
      if (url === "/healthz") response.writeHead(200).end("ok");
      else if (url === "/readyz") response.writeHead(this.#ready ? 200 : 503).end(this.#ready ? "ready" : "not ready");
      else response.writeHead(404, { connection: "close" }).end();
    }, undefined);
    this.#server.maxConnections = MAX_CONNECTIONS;
    // A connection more than there may be, or the like: nobody's request fails by it.
    this.#server.on("error", () => {});
  }

  /** `/readyz` says so from here on. */
  notReady(): void {
    this.#ready = false;
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (this.#closed === undefined) {
      this.#closed = once(this.#server, "close");
      this.#server.close();
      this.#server.closeAllConnections();
    }
    await this.#closed;
  }
}

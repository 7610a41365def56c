import { connect, createServer, type Socket } from "node:net";
import { deferred } from "../../src/util/deferred.js";

export interface CuttingProxy {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  /** Resolves when the first answer was kept back: what was asked for has been done. */
  readonly cut: Promise<void>;
  close(): Promise<void>;
}

/** Passes requests on to a server; the answer to the first one that `loses` chooses never arrives: its connection hangs, or with `breaks` ends. */
export async function startCutting(target: string, loses: (request: string) => boolean, breaks = false): Promise<CuttingProxy> {
  const { hostname, port } = new URL(target);
  const { promise: cut, resolve: wasCut } = deferred<void>();
  const sockets = new Set<Socket>();
  let chosen: Socket | undefined;
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
    }
    client.on("data", (bytes) => {
      if (chosen === undefined && loses(bytes.toString("latin1"))) chosen = client;
      upstream.write(bytes);
    });
    upstream.on("data", (bytes) => {
      if (client !== chosen) client.write(bytes);
      else {
        wasCut();
        if (breaks) client.destroy();
      }
    });
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, cut, close };
}

import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";

export interface TestProxy {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  /** What was asked of it, in order: `CONNECT host:port`, `GET http://host/path`. */
  readonly requests: string[];
  close(): Promise<void>;
}

/** A forward proxy that takes every name for the server at `port` of this machine: what comes through it can have come no other way. */
export async function startProxy(port: number, credentials?: string): Promise<TestProxy> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const authorization = credentials && `Basic ${Buffer.from(credentials).toString("base64")}`;
  const forward = (incoming: IncomingMessage, outgoing: ServerResponse): void => {
    requests.push(`${incoming.method} ${incoming.url}`);
    const { "proxy-authorization": given, ...headers } = incoming.headers;
    if (given !== authorization) {
      outgoing.writeHead(407).end();
      return;
    }
    const { pathname, search } = new URL(incoming.url!);
    const passed = request({ host: "127.0.0.1", port, method: incoming.method, path: pathname + search, headers }, (answer) => {
      outgoing.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(outgoing);
    });
    passed.on("error", () => outgoing.destroy());
    outgoing.on("close", () => passed.destroy());
    incoming.pipe(passed);
  };
  const server = createServer(forward);
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("connect", (incoming: IncomingMessage, client: Socket) => {
    requests.push(`CONNECT ${incoming.url}`);
    client.on("error", () => undefined);
    if (incoming.headers["proxy-authorization"] !== authorization) {
      client.end("HTTP/1.1 407 Any\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    const upstream = connect(port, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 Connected\r\n\r\n");
      client.pipe(upstream).pipe(client);
    });
    upstream.on("error", () => client.destroy());
    client.on("close", () => upstream.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests, close };
}

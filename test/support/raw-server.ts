import { createServer, type Server, type Socket } from "node:net";

export interface RawServer {
  /** `http://127.0.0.1:port` */
  readonly url: string;
  /** The heads of the requests that came, in order. */
  readonly requests: string[];
  close(): Promise<void>;
}

/** A TCP server that answers each request head with whatever the test writes: for answers that no proper HTTP server gives. */
export async function rawServer(answer: (socket: Socket, request: string, count: number) => void): Promise<RawServer> {
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      for (let end = text.indexOf("\r\n\r\n"); end >= 0; end = text.indexOf("\r\n\r\n")) {
        requests.push(text.slice(0, end));
        text = text.slice(end + 4);
        answer(socket, requests.at(-1)!, requests.length);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${port}`, requests, close };
}

/** A response as text. */
export function response(status: number, headers: Record<string, string | number>, body = ""): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} Any\r\n${lines.join("")}\r\n${body}`;
}

/** Stands before a peer and passes on what it says; once told to, with one wrong bit in each answer that carries blocks. */
import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface CorruptingProxy {
  readonly port: number;
  /** From now on. */
  corrupt(): void;
  /** Answers with a wrong bit so far. */
  readonly corrupted: number;
  close(): Promise<void>;
}

/** Before the peer at `port` of loopback. */
export async function corruptingProxy(port: number): Promise<CorruptingProxy> {
  const agent = new Agent({ keepAlive: true });
  let [corrupting, corrupted] = [false, 0];
  const passOn = (answer: IncomingMessage, outgoing: ServerResponse, blocks: boolean): void => {
    outgoing.writeHead(answer.statusCode!, answer.headers);
    let flip = corrupting && blocks && answer.statusCode! < 300;
    answer.on("data", (bytes: Buffer) => {
      if (flip) {
        bytes[0]! ^= 1;
        corrupted++;
      }
      flip = false;
      outgoing.write(bytes);
    });
    answer.on("end", () => outgoing.end());
    answer.on("error", () => outgoing.destroy());
  };
  const server = createServer(({ url = "", headers }, outgoing) => {
    const passed = request({ host: "127.0.0.1", port, path: url, headers, agent }, (answer) =>
      passOn(answer, outgoing, url.startsWith("/v1/blocks/")),
    );
    passed.on("information", () => outgoing.writeProcessing());
    passed.on("error", () => outgoing.destroy());
    outgoing.on("close", () => {
      if (!outgoing.writableFinished) passed.destroy();
    });
    passed.end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    corrupt: () => {
      corrupting = true;
    },
    get corrupted() {
      return corrupted;
    },
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      agent.destroy();
      await closed;
    },
  };
}

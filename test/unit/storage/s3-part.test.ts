import { createServer, type Socket } from "node:net";
import { Agent, type Dispatcher } from "undici";
import { afterEach, describe, expect, it } from "vitest";
import type { S3Connection } from "../../../src/storage/s3-client.js";
import { putPart } from "../../../src/storage/s3-part.js";
import { response } from "../../support/raw-server.js";

/** More than sockets of both sides hold. */
const BODY_BYTES = 64 * 2 ** 20;
const closing: (() => Promise<unknown>)[] = [];
afterEach(() => Promise.all(closing.splice(0).map((close) => close())));

/** A server that reads no more than a request's head before `onHead` has it do so. */
async function unread(onHead: (socket: Socket) => void): Promise<{ url: string; rest: Promise<Buffer>; go(): void }> {
  let socket: Socket | undefined;
  let told: (rest: Buffer) => void = () => {};
  const rest = new Promise<Buffer>((resolve) => {
    told = resolve;
  });
  const server = createServer((accepted) => {
    if (socket !== undefined) return void accepted.destroy();
    socket = accepted;
    const got: Buffer[] = [];
    accepted.on("error", () => {});
    accepted.on("close", () => told(Buffer.concat(got)));
    accepted.once("data", (first) => {
      accepted.pause();
      got.push(first.subarray(first.indexOf("\r\n\r\n") + 4));
      accepted.on("data", (chunk) => got.push(chunk));
      accepted.pause();
      onHead(accepted);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(async () => {
    socket?.destroy();
    server.close();
  });
  const go = () => {
    socket?.resume();
  };
  return { url: `http://127.0.0.1:${(server.address() as { port: number }).port}`, rest, go };
}

function target(url: string, agent: Dispatcher): Parameters<typeof putPart>[0] {
  const connection = {
    place: { origin: url, host: new URL(url).host, base: "/", region: "us-east-1" },
    sign: async (_: unknown, headers: Record<string, string>) => ({ headers, credentials: undefined }),
    mend: async () => false,
  };
  return { connection: connection as unknown as S3Connection, agent, path: "k", uri: "s3://b/k" };
}

describe("putPart: its body is not read any more once it has settled", () => {
  it.each([
    ["the answer is there before the body was sent", false],
    ["it is aborted while the body is sent", true],
  ])("%s", async (_, aborted) => {
    const abort = new AbortController();
    const server = await unread((socket) => {
      if (aborted) abort.abort();
      else socket.write(response(503, { "content-length": 2 }, "no"));
    });
    const agent = new Agent({ pipelining: 1 });
    closing.push(() => agent.destroy());
    const body = new Uint8Array(new SharedArrayBuffer(BODY_BYTES)).fill(1);
    const put = putPart(target(server.url, agent), { uploadId: "u", number: 1, body, crc: "x" }, abort.signal);
    await expect(put).rejects.toMatchObject({ code: aborted ? "MILLRACE_ABORTED" : "MILLRACE_UNAVAILABLE" });
    body.fill(2); // Its memory has another owner.
    server.go();
    expect((await server.rest).includes(2)).toBe(false);
  });

  it("nor is it waited for where no connection came to it", async () => {
    const agent = new Agent({ connect: { timeout: 1000 } });
    closing.push(() => agent.destroy());
    const put = putPart(
      target("http://127.0.0.1:1", agent),
      { uploadId: "u", number: 1, body: new Uint8Array(10), crc: "x" },
      new AbortController().signal,
    );
    await expect(put).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
  });
});

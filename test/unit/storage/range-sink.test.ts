/** A head that is judged later: the body waits outside of the targets, and little of it comes before the verdict. */
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createServer as createTlsServer } from "node:tls";
import { afterEach, describe, expect, it, vi } from "vitest";
import { RangeClient } from "../../../src/storage/range-client.js";
import { RangeSink, type Verdict } from "../../../src/storage/range-sink.js";
import { deferred } from "../../../src/util/deferred.js";
import { selfSigned } from "../../support/origin/certificate.js";
import { rawServer, response } from "../../support/raw-server.js";

const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  vi.useRealTimers();
  vi.unstubAllEnvs();
  for (const one of open.splice(0)) await one.close();
});

class LateSink extends RangeSink {
  readonly verdict = deferred<Verdict>();
  readonly asked = deferred<void>();

  head(): Promise<Verdict> {
    this.asked.resolve();
    return this.verdict.promise;
  }
}

const PIECE = 2 ** 18;
const bodyOf = (bytes: number): Buffer => Buffer.from(Uint8Array.from({ length: bytes }, (_, i) => (i * 7) >>> 3));
const headOf = (bytes: number, more: Record<string, string> = {}): string => response(206, { "content-length": bytes, ...more });

/** A server of one answer, over TCP or TLS. */
async function serve(tls: boolean, answer: (socket: Socket) => unknown): Promise<string> {
  if (!tls) {
    const server = await rawServer(answer);
    open.push(server);
    return server.url;
  }
  vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
  const sockets = new Set<Socket>();
  const server = createTlsServer(selfSigned(), (socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("data", () => answer(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  open.push({ close });
  return `https://127.0.0.1:${(server.address() as { port: number }).port}`;
}

function read(origin: string, bytes: number) {
  const client = new RangeClient();
  open.unshift(client);
  const target = new Uint8Array(new SharedArrayBuffer(bytes)).fill(0xee);
  const sink = new LateSink({ uri: `${origin}/x`, origin, path: "/x", headers: {}, range: { begin: 0, end: bytes } }, [target]);
  const controller = new AbortController();
  const outcome: Promise<unknown> = client.get(sink, controller.signal).catch((error: unknown) => error);
  return { sink, target, controller, outcome };
}

describe.each([false, true])("a late verdict, TLS %s", (tls) => {
  it("lets the body come, from the first byte on; waiting for it is no time-out, and takes no more than a little of the body", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const bytes = 32 * 2 ** 20;
    const body = bodyOf(bytes);
    let taken = 0;
    const origin = await serve(tls, async (socket) => {
      socket.write(headOf(bytes));
      for (; taken < bytes; taken += PIECE) await new Promise((resolve) => socket.write(body.subarray(taken, taken + PIECE), resolve));
    });
    const { sink, target, outcome } = read(origin, bytes);
    await sink.asked.promise;
    expect(vi.getTimerCount()).toBe(0);
    for (let before = -1; before !== taken; await sleep(200)) before = taken;
    // No more than the sockets' own buffers hold.
    expect(taken).toBeLessThan(bytes);
    expect(target.every((byte) => byte === 0xee)).toBe(true);
    sink.verdict.resolve("body");
    expect(await outcome).toBe("done");
    expect(body.equals(target)).toBe(true);
  });

  it.each([
    ["the whole body", 1000, "done"],
    ["a part of it", 400, expect.objectContaining({ code: "MILLRACE_UNAVAILABLE", message: expect.stringContaining("after 400 of 1000") })],
  ])("takes what came before the connection's end: %s", async (_name, sent, result) => {
    const origin = await serve(tls, (socket) =>
      socket.end(Buffer.concat([Buffer.from(headOf(1000, { connection: "close" })), bodyOf(1000).subarray(0, sent)])),
    );
    const { sink, target, outcome } = read(origin, 1000);
    await sink.asked.promise;
    await sleep(50);
    sink.verdict.resolve("body");
    expect(await outcome).toEqual(result);
    expect(Buffer.from(target.subarray(0, sent)).equals(bodyOf(sent))).toBe(true);
  });

  it("that is a refusal, an error, or too late writes nothing", async () => {
    const origin = await serve(tls, (socket) => {
      socket.write(headOf(1000));
      socket.write(bodyOf(1000));
    });
    const unclaimed = read(origin, 1000);
    await unclaimed.sink.asked.promise;
    unclaimed.sink.verdict.resolve("unclaimed");
    expect(await unclaimed.outcome).toBe("done");

    const failed = read(origin, 1000);
    await failed.sink.asked.promise;
    const error = new Error("no good");
    failed.sink.verdict.reject(error);
    expect(await failed.outcome).toBe(error);

    const late = read(origin, 1000);
    await late.sink.asked.promise;
    late.controller.abort();
    expect(await late.outcome).toMatchObject({ code: "MILLRACE_ABORTED" });
    late.sink.verdict.resolve("body");

    await sleep(20);
    for (const { target } of [unclaimed, failed, late]) expect(target.every((byte) => byte === 0xee)).toBe(true);
  });

  it("finds a connection that was lost meanwhile", async () => {
    let server: Socket | undefined;
    const origin = await serve(tls, (socket) => {
      server = socket;
      socket.write(headOf(1000));
    });
    const { sink, target, outcome } = read(origin, 1000);
    await sink.asked.promise;
    server!.destroy();
    await sleep(20);
    sink.verdict.resolve("body");
    expect(await outcome).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(target.every((byte) => byte === 0xee)).toBe(true);
  });
});

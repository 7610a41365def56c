/** Ranged GETs from I/O threads: claims, failures, aborts and the ends of threads. Each read here is of one server in this process. */
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Worker } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { IoPool } from "../../../src/engine/io-pool.js";
import type * as Loading from "../../../src/engine/module-loading.js";
import { HttpTransports, rangeGet } from "../../../src/storage/http-get.js";
import type { HttpTimeouts } from "../../../src/storage/http-timeouts.js";
import type { RangeRequest } from "../../../src/storage/range-answer.js";
import type { ReadOptions } from "../../../src/storage/store.js";
import { IN_TIME } from "../../support/in-time.js";
import { type RawServer, rawServer, response } from "../../support/raw-server.js";

const SIZE = 1_000_000;
/** Of a read that goes to a thread, at least. */
const LEAST = 262_144;
const BODY = Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => (i * 7) >>> 3));
const HALF = SIZE / 2;

/** The threads that pools have started. */
const workers: Worker[] = [];
vi.mock("../../../src/engine/module-loading.js", async (original) => {
  const real = await original<typeof Loading>();
  const startWorker: typeof real.startWorker = (...how) => {
    const worker = real.startWorker(...how);
    workers.push(worker);
    return worker;
  };
  return { ...real, startWorker };
});

const open: { close(): Promise<unknown> }[] = [];
beforeEach(() => {
  workers.length = 0;
});
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
  // What a pool has started, its close has ended.
  expect(workers.filter(({ threadId }) => threadId >= 0)).toEqual([]);
});

interface Bench {
  readonly pool: IoPool;
  readonly transports: HttpTransports;
  readonly lines: { readonly deaths?: number; readonly message: string }[];
}
function poolOf(threads: number, timeouts: HttpTimeouts = {}): Bench {
  const lines: { deaths?: number; message: string }[] = [];
  const pool = new IoPool(threads, (level, fields, message) => level === "warn" && lines.push({ ...fields, message }), timeouts);
  const transports = new HttpTransports(timeouts, pool);
  open.push(transports, pool);
  return { pool, transports, lines };
}
async function serve(answer: (socket: Socket, request: string, count: number) => void): Promise<RawServer> {
  const server = await rawServer(answer);
  open.push(server);
  return server;
}

function headOf(begin: number, end: number, more: Record<string, string | number> = {}): string {
  return response(206, { "content-length": end - begin, "content-range": `bytes ${begin}-${end - 1}/${SIZE}`, etag: '"v"', ...more });
}
function rangeOf(request: string): [begin: number, end: number] {
  const [, first, last] = /range: bytes=(\d+)-(\d+)/.exec(request)!;
  return [Number(first), Number(last) + 1];
}
/** Answers any range properly. */
const proper = (socket: Socket, request: string): void => {
  const [begin, end] = rangeOf(request);
  socket.write(headOf(begin, end));
  socket.write(BODY.subarray(begin, end));
};
/** Answers with the head and half of the body. */
const halfOf = (socket: Socket): void => {
  socket.write(headOf(0, SIZE));
  socket.write(BODY.subarray(0, HALF));
};

const sharedMemory = (bytes = SIZE): Uint8Array => new Uint8Array(new SharedArrayBuffer(bytes)).fill(0xee);
const untouched = (memory: Uint8Array): boolean => memory.every((byte) => byte === 0xee);

/** Reads to the end of `target` from `begin`; resolves to the outcome, or the error. */
function read(transports: HttpTransports, server: RawServer, target: Uint8Array, options: ReadOptions = {}, begin = 0): Promise<unknown> {
  const range = { begin, end: begin + target.length };
  const request: RangeRequest = {
    uri: `${server.url}/x`,
    origin: server.url,
    path: "/x",
    headers: { range: `bytes=${range.begin}-${range.end - 1}` },
    range,
    object: { path: "x", size: SIZE, etag: '"v"', lastModified: undefined },
    versionOf: ({ etag }) => etag as string | undefined,
  };
  return rangeGet(transports, request, [target], options).catch((error: unknown) => error);
}

/** Resolves when the condition holds. */
const until = (condition: () => boolean): Promise<void> => vi.waitFor(() => expect(condition()).toBe(true), { ...IN_TIME, interval: 5 });

describe("bytes", () => {
  it.each([1, 2, 4])("are right from %i threads, and nothing is written beside them", async (threads) => {
    const server = await serve(proper);
    const { transports } = poolOf(threads);
    const slab = sharedMemory(12 * LEAST + 20);
    const progress = { received: 0 };
    const reads = Array.from({ length: 12 }, (_, i) => {
      const at = 10 + i * LEAST;
      return read(transports, server, slab.subarray(at, at + LEAST), { progress }, i * 1000);
    });
    expect(await Promise.all(reads)).toEqual(new Array(12).fill(undefined));
    for (let i = 0; i < 12; i++)
      expect(BODY.subarray(i * 1000, i * 1000 + LEAST).equals(slab.subarray(10 + i * LEAST, 10 + (i + 1) * LEAST))).toBe(true);
    expect([...slab.subarray(0, 10), ...slab.subarray(-10)]).toEqual(new Array(20).fill(0xee));
    expect(progress.received).toBe(12 * LEAST);
    expect(server.requests).toHaveLength(12);
    expect(workers).toHaveLength(threads);
  });

  it("go to the thread with the fewest bytes under way", async () => {
    const held: (() => void)[] = [];
    const server = await serve((socket, request) => held.push(() => proper(socket, request)));
    const { transports } = poolOf(2);
    const first = read(transports, server, sharedMemory());
    const sent = workers.map((worker) => vi.spyOn(worker, "postMessage"));
    const gets = () => sent.map((spy) => spy.mock.calls.filter(([message]) => (message as { t: string }).t === "get").length);
    const rest = [0, 1, 2].map((more) => read(transports, server, sharedMemory(LEAST + more)));
    // The first read, of all the bytes, weighs more than the three together.
    expect(gets()).toEqual([0, 3]);
    await until(() => held.length === 4);
    for (const answer of held) answer();
    expect(await Promise.all([first, ...rest])).toEqual(new Array(4).fill(undefined));
  });

  it("use a thread's connection again", async () => {
    const sockets = new Set<Socket>();
    const server = await serve((socket, request) => {
      sockets.add(socket);
      proper(socket, request);
    });
    const { transports } = poolOf(1);
    for (let i = 0; i < 5; i++) expect(await read(transports, server, sharedMemory(LEAST))).toBeUndefined();
    expect(sockets.size).toBe(1);
  });

  it.each([
    ["where they are too few to pay", new Uint8Array(new SharedArrayBuffer(LEAST - 1))],
    ["where their memory cannot be shared", new Uint8Array(SIZE)],
  ])("go by this thread %s", async (_name, target) => {
    const server = await serve(proper);
    const { transports } = poolOf(2);
    expect(await read(transports, server, target)).toBeUndefined();
    expect(BODY.subarray(0, target.length).equals(target)).toBe(true);
    expect(workers).toHaveLength(0);
  });

  it("of an answer that the client does not take come by undici", async () => {
    const server = await serve((socket, request, count) => {
      if (count > 1) proper(socket, request);
      else socket.end(`HTTP/1.1 206 P\r\ncontent-range: bytes 0-${LEAST - 1}/${SIZE}\r\n\r\n0123456789`);
    });
    const claim = vi.fn(() => true);
    const target = sharedMemory(LEAST);
    expect(await read(poolOf(1).transports, server, target, { claim })).toBeUndefined();
    expect(BODY.subarray(0, LEAST).equals(target)).toBe(true);
    expect(claim).toHaveBeenCalledTimes(1);
    expect(server.requests).toHaveLength(2);
  });
});

describe("claims", () => {
  it("are asked once, before the first byte is written", async () => {
    const server = await serve(proper);
    const target = sharedMemory();
    const claim = vi.fn(() => {
      // Time enough for a thread that does not wait.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
      return untouched(target);
    });
    expect(await read(poolOf(1).transports, server, target, { claim })).toBeUndefined();
    expect(claim.mock.results).toEqual([{ type: "return", value: true }]);
    expect(BODY.equals(target)).toBe(true);
  });

  it("that are refused leave the memory alone", async () => {
    const server = await serve(proper);
    const { transports } = poolOf(1);
    const target = sharedMemory();
    const progress = { received: 0 };
    expect(await read(transports, server, target, { claim: () => false, progress })).toBeUndefined();
    // Another answer over the same thread: the refused one has had its time.
    expect(await read(transports, server, sharedMemory())).toBeUndefined();
    expect(untouched(target)).toBe(true);
    expect(progress.received).toBe(0);
  });

  it("of two reads of the same memory are decided by the engine: only one writes", async () => {
    const server = await serve((socket, request, count) => {
      const [begin, end] = rangeOf(request);
      socket.write(headOf(begin, end));
      // What the two send differs, so that a byte of the loser is seen.
      socket.write(Buffer.alloc(end - begin, count % 2));
    });
    const { transports } = poolOf(2);
    for (let turn = 0; turn < 20; turn++) {
      const target = sharedMemory();
      const winners: number[] = [];
      const reads = [0, 1].map((who) => {
        const claim = () => winners.length === 0 && winners.push(who) > 0;
        return read(transports, server, target, { claim });
      });
      expect(await Promise.all(reads)).toEqual([undefined, undefined]);
      expect(winners).toHaveLength(1);
      expect(target[0]).toBeLessThan(2);
      expect(target.every((byte) => byte === target[0])).toBe(true);
    }
  });

  it("may end their own read, or throw", async () => {
    const server = await serve(proper);
    const { transports } = poolOf(1);
    const controller = new AbortController();
    const ends = () => {
      controller.abort();
      return true;
    };
    const target = sharedMemory();
    expect(await read(transports, server, target, { claim: ends, signal: controller.signal })).toMatchObject({ code: "MILLRACE_ABORTED" });
    target.fill(0xee);
    const broken = new Error("broken claim");
    const throws = () => {
      throw broken;
    };
    expect(await read(transports, server, target, { claim: throws })).toBe(broken);
    expect(await read(transports, server, sharedMemory())).toBeUndefined();
    expect(untouched(target)).toBe(true);
  });
});

describe("failures", () => {
  it("are the same as in the engine's thread: another version, a refusal, a request that cannot be sent", async () => {
    const server = await serve((socket, request) => {
      const [begin, end] = rangeOf(request);
      if (begin === 0) socket.write(`${headOf(begin, end, { etag: '"w"' })}0123456789`);
      else socket.write(response(404, { "content-length": 9, "x-why": "none" }, "<NoSuch/>"));
    });
    const { transports } = poolOf(1);
    const claim = vi.fn(() => true);
    const target = sharedMemory(LEAST);
    expect(await read(transports, server, target, { claim })).toMatchObject({
      code: "MILLRACE_CHANGED",
      uri: `${server.url}/x`,
      range: { begin: 0, end: LEAST },
    });
    expect(await read(transports, server, target, { claim }, 20)).toMatchObject({
      status: 404,
      body: "<NoSuch/>",
      headers: { "x-why": "none" },
    });
    expect(claim).not.toHaveBeenCalled();
    expect(untouched(target)).toBe(true);
  });

  it("in the body tell how far it came", async () => {
    const server = await serve((socket) => {
      halfOf(socket);
      socket.end();
    });
    const progress = { received: 0 };
    const target = sharedMemory();
    expect(await read(poolOf(1).transports, server, target, { progress })).toMatchObject({
      code: "MILLRACE_UNAVAILABLE",
      message: expect.stringContaining(`after ${HALF} of ${SIZE} bytes`),
    });
    expect(progress.received).toBe(HALF);
    expect(BODY.subarray(0, HALF).equals(target.subarray(0, HALF))).toBe(true);
  });

  it("of servers that stall or say nothing are time-outs", async () => {
    const server = await serve((socket, _request, count) => {
      if (count === 1) halfOf(socket);
    });
    const { transports } = poolOf(1, { headMs: 500, stallMs: 500 });
    expect(await read(transports, server, sharedMemory())).toMatchObject({
      code: "MILLRACE_TIMEOUT",
      message: expect.stringContaining("stalled"),
    });
    expect(await read(transports, server, sharedMemory())).toMatchObject({
      code: "MILLRACE_TIMEOUT",
      message: expect.stringContaining("no answer"),
    });
  });

  it("while the head is judged fail the read, and the late verdict is nobody's", async () => {
    let reset = (): void => undefined;
    const server = await serve((socket, request, count) => {
      if (count > 1) proper(socket, request);
      else {
        socket.write(headOf(0, SIZE));
        reset = () => socket.resetAndDestroy();
      }
    });
    const { transports } = poolOf(1);
    const target = sharedMemory();
    const controller = new AbortController();
    const claim = () => {
      reset();
      return true;
    };
    expect(await read(transports, server, target, { claim, signal: controller.signal })).toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(untouched(target)).toBe(true);
    expect(await read(transports, server, target)).toBeUndefined();
  });
});

describe("aborts", () => {
  it("settle when nothing more is written, though the server goes on sending", async () => {
    const sockets: Socket[] = [];
    const server = await serve((socket) => {
      sockets.push(socket);
      halfOf(socket);
    });
    const { transports } = poolOf(1);
    const controller = new AbortController();
    const target = sharedMemory();
    const reading = read(transports, server, target, { signal: controller.signal });
    await until(() => target[HALF - 1] !== 0xee);
    sockets[0]!.write(BODY.subarray(HALF, -1));
    controller.abort("enough");
    expect(await reading).toMatchObject({ code: "MILLRACE_ABORTED", cause: "enough" });
    target.fill(0xee);
    await until(() => sockets[0]!.destroyed);
    await sleep(20);
    expect(untouched(target)).toBe(true);
  });

  it("before the read and before the answer end it, and the thread reads on", async () => {
    const server = await serve((socket, request, count) => {
      if (count > 1) proper(socket, request);
    });
    const { transports } = poolOf(1);
    const controller = new AbortController();
    const reading = read(transports, server, sharedMemory(), { signal: controller.signal });
    await until(() => server.requests.length === 1);
    controller.abort();
    expect(await reading).toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(await read(transports, server, sharedMemory(), { signal: controller.signal })).toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(server.requests).toHaveLength(1);
    expect(await read(transports, server, sharedMemory())).toBeUndefined();
  });
});

describe("ends", () => {
  it("a thread that dies fails its reads only, is named in the log, and another takes its place", async () => {
    const server = await serve((socket, request, count) => (count === 1 ? halfOf(socket) : proper(socket, request)));
    const { transports, lines } = poolOf(1);
    const target = sharedMemory();
    const reading = read(transports, server, target);
    await until(() => target[HALF - 1] !== 0xee);
    await workers[0]!.terminate();
    expect(await reading).toMatchObject({ code: "MILLRACE_UNAVAILABLE", message: expect.stringContaining("I/O thread has died") });
    expect(lines).toEqual([{ deaths: 1, error: undefined, message: expect.stringContaining("another takes its place") }]);
    expect(await read(transports, server, target)).toBeUndefined();
    expect(BODY.equals(target)).toBe(true);
    expect(workers).toHaveLength(2);
  });

  it("the engine's thread reads by itself when too many have died", async () => {
    const server = await serve(proper);
    const { transports, lines } = poolOf(2);
    while (lines.length < 8) {
      expect(await read(transports, server, sharedMemory(LEAST))).toBeUndefined();
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
    const started = workers.length;
    const target = sharedMemory();
    expect(await read(transports, server, target)).toBeUndefined();
    expect(BODY.equals(target)).toBe(true);
    expect(workers).toHaveLength(started);
    expect(lines.at(-1)!.message).toContain("no other is started");
  });

  it("close ends reads in every phase, and later ones, and is idempotent", async () => {
    const server = await serve((socket, request) => {
      if (rangeOf(request)[0] === 0) halfOf(socket);
    });
    const { pool, transports, lines } = poolOf(2);
    const target = sharedMemory();
    const reads = [read(transports, server, target), read(transports, server, sharedMemory(LEAST), {}, 20)];
    await until(() => target[HALF - 1] !== 0xee && server.requests.length === 2);
    reads.push(read(transports, server, new Uint8Array(SIZE)));
    await Promise.all([pool.close(), pool.close()]);
    for (const one of reads) expect(await one).toMatchObject({ code: "MILLRACE_CLOSED" });
    expect(await read(transports, server, sharedMemory())).toMatchObject({ code: "MILLRACE_CLOSED" });
    expect(lines).toEqual([]);
    expect(workers).toHaveLength(2);
  });
});

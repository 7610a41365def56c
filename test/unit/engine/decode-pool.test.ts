import type { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test, vi } from "vitest";
import type { Fields } from "../../../src/api.js";
import { DecodePool } from "../../../src/engine/decode-pool.js";
import type { DecodeSetup } from "../../../src/engine/decode-protocol.js";
import { loadDecoder } from "../../../src/engine/load-decoder.js";
import type * as Loading from "../../../src/engine/module-loading.js";
import type { MillraceError } from "../../../src/errors.js";
import { formatByName } from "../../../src/formats/infer.js";
import { Manifest } from "../../../src/formats/manifest.js";
import { Assembler, type BatchInput } from "../../../src/loader/assemble.js";
import { IN_TIME } from "../../support/in-time.js";
import { batchRows } from "../../support/raw-record.js";
import double from "./fixtures/decoders/double.js";
import wicked from "./fixtures/decoders/wicked.js";

const decoderUrl = (name: string) => new URL(`./fixtures/decoders/${name}.ts`, import.meta.url).href;
const FIELDS: Fields = { bytes: "bytes", label: "int32" };

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

let pools: DecodePool[] = [];
afterEach(async () => {
  await Promise.all(pools.map((pool) => pool.close()));
  pools = [];
  workers.length = 0;
});

function setup(decoder: { url: string; output: Fields }, options: Partial<DecodeSetup> & { args?: unknown } = {}): DecodeSetup {
  const { args, ...rest } = options;
  return {
    format: "files",
    fields: FIELDS,
    classes: ["cat", "dog"],
    root: "memory://pets",
    onError: "throw",
    recycle: true,
    manifest,
    decoder: { url: decoder.url, output: decoder.output, args },
    seed: 7,
    timeoutMs: 20_000,
    ...rest,
  };
}

async function start(width: number, given: DecodeSetup): Promise<DecodePool> {
  const pool = await DecodePool.start(width, given);
  pools.push(pool);
  return pool;
}

const pathOf = (row: number): string => `${row % 2 === 0 ? "cat" : "dog"}/${row}.jpg`;
const manifest = Manifest.build({
  format: "files",
  root: "memory://pets",
  shards: Array.from({ length: 10 }, (_, row) => ({ stored: { path: pathOf(row), size: 1, etag: "e", lastModified: undefined } })),
}).toShared();

const encoder = new TextEncoder();
/** Rows of files in turn of two classes; every second record lies in shared memory, as the cache's do. */
function batch(texts: readonly string[], options: Partial<BatchInput> = {}): BatchInput {
  const shared = new Uint8Array(new SharedArrayBuffer(1 << 16));
  let at = 0;
  const rows = texts.map((text, row) => {
    let bytes: Uint8Array = encoder.encode(text);
    if (row % 2 === 0) {
      shared.set(bytes, at);
      bytes = shared.subarray(at, at + bytes.length);
      at += bytes.length;
    }
    const path = pathOf(row);
    return { bytes, key: path, index: 100 + row, shardPath: path };
  });
  return { rows: batchRows(rows), padding: 0, epoch: 2, ...options };
}

const failure = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => expect.unreachable("it did not fail"),
    (error) => error,
  );

describe("a pool of decode workers", () => {
  test("gives the batch that this thread would give, whatever worker makes it", async () => {
    const args = { factor: 2 };
    const pool = await start(2, setup(double, { args }));
    const texts = ["a", "bc", "", "def", "ghij", "k"];
    const [first, second, third] = await Promise.all([1, 2, 3].map((epoch) => pool.decode(batch(texts, { epoch, padding: 1 }))));
    const inline = new Assembler({
      format: formatByName("files"),
      fields: FIELDS,
      classes: ["cat", "dog"],
      root: "memory://pets",
      onError: "throw",
      decode: { decoder: await loadDecoder(double.url, double.output), args, seed: 7, timeoutMs: 1000 },
      recycle: false,
    });
    expect(first).toEqual(await inline.assemble(batch(texts, { epoch: 1, padding: 1 })));
    expect(third).toEqual(await inline.assemble(batch(texts, { epoch: 3, padding: 1 })));
    expect(first).toMatchObject({ size: 5, padding: 1, skipped: [] });
    expect(first!.columns.sum).toMatchObject({ shape: [6], data: Int32Array.of(194, 394, 0, 606, 2 * (103 + 104 + 105 + 106), 214) });
    expect(first!.columns.text).toMatchObject({ values: ["label 0", "label 1", "label 0", "label 1", "label 0", "label 1"] });
    expect(first!.columns.drawn).not.toEqual(second!.columns.drawn);
  });

  test("builds a batch in memory that was given back", async () => {
    const pool = await start(1, setup(double, { args: { factor: 1 } }));
    const first = await pool.decode(batch(["aaa", "bbb"]));
    const given = Object.values(first.columns).flatMap((column) =>
      column.kind === "values" ? [] : [("data" in column ? column.data : column.values).buffer],
    );
    const expected = structuredClone(first);
    // Larger than needed and of a size that nothing else has: seen again, it is the memory given back.
    const marked = new ArrayBuffer(23);
    pool.recycle([...given.slice(1), marked]);
    const second = await pool.decode(batch(["aaa", "bbb"]));
    const sizes = Object.values(second.columns).map((column) => ("data" in column ? column.data.buffer.byteLength : 0));
    expect(marked.byteLength).toBe(0);
    expect(sizes).toContain(23);
    expect(second).toEqual({ ...expected, byteLength: second.byteLength });
  });

  test("names the sample that failed to decode, and its cause", async () => {
    const pool = await start(1, setup(wicked));
    const error = await failure(pool.decode(batch(["fine", "throw"])));
    expect(error).toMatchObject({ code: "MILLRACE_DECODE", uri: "memory://pets/dog/1.jpg", sample: { key: "dog/1.jpg", index: 101 } });
    expect(error.message).toBe('memory://pets/dog/1.jpg: sample "dog/1.jpg" (number 101): the decoder failed: no such picture');
    expect(error.cause).toMatchObject({ name: "RangeError", message: "no such picture" });
    const misfit = await failure(pool.decode(batch(["wrong"])));
    expect(misfit).toMatchObject({ code: "MILLRACE_DECODE", message: expect.stringContaining('field "length"') });
    expect((await pool.decode(batch(["fine"]))).size).toBe(1);
  });

  test.each([
    ["exit", "MILLRACE_DECODE", /ended by itself with code 3/],
    ["uncaught", "MILLRACE_DECODE", /uncaught error: out of the blue/],
    ["loop", "MILLRACE_TIMEOUT", /longer than 300 ms/],
    ["hang", "MILLRACE_TIMEOUT", /longer than 300 ms/],
  ])("a decoder that does %s is %s, with its sample, and the pool goes on", async (deed, code, message) => {
    const pool = await start(1, setup(wicked, { timeoutMs: 300 }));
    const error = await failure(pool.decode(batch(["fine", "fine", deed, "fine"])));
    expect(error).toMatchObject({ code, sample: { key: "cat/2.jpg", index: 102 }, message: expect.stringMatching(message) });
    expect((await pool.decode(batch(["fine"]))).size).toBe(1);
  });

  test("skips samples that fail or kill their worker, each counted once, padding not at all", async () => {
    const pool = await start(1, setup(wicked, { timeoutMs: 300, onError: "skip" }));
    const made = await pool.decode(batch(["one", "throw", "exit", "three", "loop", "exit", "padding"], { padding: 2 }));
    expect(made).toMatchObject({ size: 2, padding: 1, indices: Float64Array.of(100, 103, 106) });
    expect(made.skipped.map(({ index, code }) => [index, code])).toEqual([
      [101, "MILLRACE_DECODE"],
      [102, "MILLRACE_DECODE"],
      [104, "MILLRACE_TIMEOUT"],
    ]);
    expect(made.columns.length).toMatchObject({ shape: [3], data: Int32Array.of(3, 5, 7) });
  });

  test("a worker that dies between two batches is replaced", async () => {
    const pool = await start(1, setup(wicked));
    expect((await pool.decode(batch(["exit-later"]))).size).toBe(1);
    await vi.waitFor(() => expect(workers[0]!.threadId).toBe(-1), IN_TIME);
    expect((await pool.decode(batch(["fine"]))).size).toBe(1);
  });

  test("what cannot be sent says so", async () => {
    const pool = await start(1, setup({ url: decoderUrl("json"), output: { a: "json" } }));
    expect(await failure(pool.decode(batch(["a"])))).toMatchObject({
      code: "MILLRACE_DECODE",
      message: expect.stringContaining("json values cannot be sent"),
    });
    expect(await failure(DecodePool.start(1, setup(wicked, { args: () => 1 })))).toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(/^decodeArgs:/),
    });
  });
});

describe("a decoder that cannot be loaded is MILLRACE_CONFIG before any batch", () => {
  test.each([
    ["no-decoder", /the default export of .*no-decoder\.ts is no decoder/],
    ["throws-on-import", /this module needs a GPU/],
    ["ends-on-import", /ended its worker/],
    ["shifting", /not the same in every thread/],
    ["nowhere", /could not be imported/],
  ])("%s", async (name, message) => {
    const error = await failure(DecodePool.start(2, setup({ url: decoderUrl(name), output: { a: "int32" } })));
    expect(error).toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringMatching(message) });
  });
});

describe("ending", () => {
  test("an abort ends what runs, what waits and what never returns, and the pool goes on", async () => {
    const pool = await start(1, setup(wicked));
    for (const deed of ["wait", "loop"]) {
      const controller = new AbortController();
      const running = failure(pool.decode(batch(["fine", deed], { signal: controller.signal })));
      const waiting = failure(pool.decode(batch(["fine"], { signal: controller.signal })));
      setTimeout(() => controller.abort(new Error("enough")), 100);
      expect(await waiting).toMatchObject({ code: "MILLRACE_ABORTED" });
      expect(await running).toMatchObject({ code: "MILLRACE_ABORTED" });
      expect((await running).cause).toMatchObject({ message: "enough" });
      expect(await failure(pool.decode(batch(["fine"], { signal: controller.signal })))).toMatchObject({ code: "MILLRACE_ABORTED" });
    }
    expect((await pool.decode(batch(["fine"]))).size).toBe(1);
  });

  test("an abort while the pool starts", async () => {
    const controller = new AbortController();
    const starting = failure(DecodePool.start(1, setup(wicked), controller.signal));
    controller.abort();
    expect(await starting).toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(await failure(DecodePool.start(1, setup(wicked), controller.signal))).toMatchObject({ code: "MILLRACE_ABORTED" });
  });

  test("close ends batches in the making and those that wait, at once and only once", async () => {
    const pool = await start(1, setup(wicked));
    const running = failure(pool.decode(batch(["loop"])));
    const waiting = failure(pool.decode(batch(["fine"])));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await Promise.all([pool.close(), pool.close()]);
    expect(await running).toMatchObject({ code: "MILLRACE_CLOSED" });
    expect(await waiting).toMatchObject({ code: "MILLRACE_CLOSED" });
    expect(await failure(pool.decode(batch(["fine"])))).toMatchObject({ code: "MILLRACE_CLOSED" });
  });
});

import { once } from "node:events";
import { MessageChannel } from "node:worker_threads";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ABORTED_JOB, AT_ROW, type DecodeSetup, type FromDecodeWorker, packRows, unpackRows } from "../../../src/engine/decode-protocol.js";
import { serveDecode } from "../../../src/engine/decode-service.js";
import { Manifest } from "../../../src/formats/manifest.js";
import { type BatchRows, RowCursor } from "../../../src/loader/batch-rows.js";
import { batchRows } from "../../support/raw-record.js";
import wicked from "./fixtures/decoders/wicked.js";

const STORED = { size: 1, etag: "e", lastModified: undefined };
const manifest = Manifest.build({
  format: "files",
  root: "memory://m",
  shards: Array.from({ length: 4 }, (_, row) => ({
    stored: { ...STORED, path: `c/${row}` },
    index: { begins: Float64Array.of(0), ends: Float64Array.of(1), keys: [`${row}`] },
  })),
});
const SETUP: DecodeSetup = {
  format: "files",
  fields: { bytes: "bytes" },
  classes: undefined,
  root: "memory://m",
  onError: "skip",
  recycle: true,
  manifest: manifest.toShared(),
  decoder: { url: wicked.url, output: wicked.output, args: undefined },
  seed: 0,
  timeoutMs: 10_000,
};
const rowsOf = (...texts: string[]): BatchRows =>
  batchRows(texts.map((text, row) => ({ bytes: new TextEncoder().encode(text), key: `${row}`, index: row, shardPath: `c/${row}` })));

describe("the worker's end, on this thread", () => {
  let channel: MessageChannel;
  let progress: Int32Array;
  beforeEach(() => {
    channel = new MessageChannel();
    progress = new Int32Array(new SharedArrayBuffer(8));
  });
  afterEach(() => channel.port1.close());

  const next = async (): Promise<FromDecodeWorker> => (await once(channel.port1, "message"))[0];
  const serve = async (setup = SETUP): Promise<FromDecodeWorker> => {
    const answer = next();
    await serveDecode(channel.port2, { millrace: "decode", setup, progress: progress.buffer as SharedArrayBuffer });
    return answer;
  };
  const job = (id: number, rows: BatchRows, without: number[] = [], memory: ArrayBuffer[] = []) =>
    channel.port1.postMessage({ t: "job", id, epoch: 0, padding: 0, rows: packRows(rows).packed, without, memory });

  test("is ready, assembles what it is sent, and says which row it is on", async () => {
    expect(await serve()).toEqual({ t: "ready" });
    job(1, rowsOf("a", "exit", "ccc"), [1]);
    expect(await next()).toMatchObject({ t: "done", id: 1, batch: { size: 2, columns: { length: { data: Int32Array.of(1, 3) } } } });
    expect(progress[AT_ROW]).toBe(2);
  });

  test("an abort by flag or by message ends the job, and only that one", async () => {
    await serve();
    progress[ABORTED_JOB] = 1;
    job(1, rowsOf("a"));
    expect(await next()).toMatchObject({ t: "error", id: 1, error: { code: "MILLRACE_ABORTED" } });
    job(2, rowsOf("wait"));
    channel.port1.postMessage({ t: "abort", id: 1 });
    channel.port1.postMessage({ t: "abort", id: 2 });
    expect(await next()).toMatchObject({ t: "error", id: 2, error: { code: "MILLRACE_ABORTED" } });
    job(3, rowsOf("a"));
    expect(await next()).toMatchObject({ t: "done", id: 3 });
  });

  test("a result that cannot be sent, a decoder that cannot be loaded", async () => {
    const url = new URL("./fixtures/decoders/json.ts", import.meta.url).href;
    await serve({ ...SETUP, decoder: { url, output: { a: "json" }, args: undefined } });
    job(1, rowsOf("a"));
    expect(await next()).toMatchObject({
      t: "error",
      error: { code: "MILLRACE_DECODE", message: expect.stringContaining("cannot be sent") },
    });
  });

  test.each([
    ["no-decoder", /no decoder; write/],
    ["shifting", /not the same in every thread/],
  ])("fails to start with %s", async (name, message) => {
    const url = new URL(`./fixtures/decoders/${name}.ts`, import.meta.url).href;
    expect(await serve({ ...SETUP, decoder: { url, output: { b: "int8" }, args: undefined } })).toMatchObject({
      t: "failed",
      error: { code: "MILLRACE_CONFIG", message: expect.stringMatching(message) },
    });
  });
});

test("rows packed and unpacked are the same, in as many objects however many they are, shared memory shared, the rest copied once", () => {
  const shared = new Uint8Array(new SharedArrayBuffer(100)).fill(1);
  const own = new Uint8Array(new ArrayBuffer(100)).fill(2);
  const rows = batchRows(
    [shared.subarray(3, 10), own.subarray(5, 9), shared.subarray(0, 0), own.subarray(90)].map((bytes, row) => ({
      bytes,
      key: `k${row}`,
      index: row * 7,
      shardPath: row < 2 ? "a" : "b",
    })),
  );
  const { packed, transfer } = packRows(rows);
  expect(transfer.map((buffer) => buffer.byteLength)).toEqual([14]);
  expect(packed.buffers).toHaveLength(2);
  expect(Object.values(packed).every((part) => ArrayBuffer.isView(part) || part === packed.buffers)).toBe(true);
  const back = unpackRows(structuredClone(packed, { transfer }), rows.names);
  expect(shown(back)).toEqual(shown(rows));
  shared.fill(8);
  expect(shown(back)[0]!.bytes).toEqual([8, 8, 8, 8, 8, 8, 8]);
});

function shown(rows: BatchRows): { index: number; key: string; shardPath: string; bytes: number[] }[] {
  return Array.from({ length: rows.count }, (_, row) => {
    const { index, key, shardPath, bytes, begin, end } = new RowCursor(rows, undefined, row);
    return { index, key, shardPath, bytes: [...bytes.subarray(begin, end)] };
  });
}

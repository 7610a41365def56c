/** `mill.checkpoint`: headers, whole tensors, rows and streams, over an origin that counts, and over sparse files that are longer than memory. */
import { mkdtemp, open as openFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type LoadedTensor, type Millrace, type MillraceOptions, openMillrace, type Progress } from "../../src/index.js";
import { drawnBytes } from "../../src/testing/contract-bench.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";
import { entry, fileWith, type MadeTensor, safetensorsFile } from "../support/safetensors.js";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

let origin: Origin;
let folder: string;
const mills: Millrace[] = [];
const open = async (options: MillraceOptions = {}): Promise<Millrace> => {
  const mounts = { "/ckpt": { uri: "s3://data/ckpt", admission: "lru" as const } };
  mills.push(
    await openMillrace({ engine: "inline", cache: { memory: "64MiB" }, limits: { hedge: 0 }, s3: s3Options(origin), mounts, ...options }),
  );
  return mills.at(-1)!;
};
const drawn = drawnBytes(40 * MIB);
let at = 0;
function made(name: string, dtype: string, shape: readonly number[], byteLength: number): MadeTensor {
  at += byteLength;
  return { name, dtype, shape, bytes: drawn.subarray(at - byteLength, at) };
}
const model = [
  made("wte", "F32", [2 * MIB, 2], 16 * MIB),
  made("odd", "U8", [3], 3),
  made("wpe", "BF16", [1000, 500], 1_000_000),
  made("none", "F32", [0, 7], 0),
  made("head", "I64", [MIB, 1], 8 * MIB),
  made("step", "F64", [], 8),
];
const bytesOf = (tensor: LoadedTensor | undefined) => Buffer.from(tensor!.bytes);
const sameBytes = (tensor: LoadedTensor | undefined, expected: Uint8Array) => Buffer.compare(bytesOf(tensor), expected) === 0;

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
});
beforeEach(async () => {
  await origin.put("data", "ckpt/model.safetensors", fileWith(model, { metadata: { format: "pt" } }));
  await origin.clearFaults();
  await origin.shape({});
  await origin.reset();
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true, force: true });
});

describe.each(["inline", "worker"] as const)("engine %s", (engine) => {
  test("opening reads the header and no data; loading brings every tensor, aligned, with its type", async () => {
    const mill = await open({ engine, cache: { memory: 0 } });
    const checkpoint = await mill.checkpoint("/ckpt/model.safetensors");
    const { kinds, bytesSent } = await origin.stats();
    expect([kinds.head, kinds.get]).toEqual([1, 1]);
    expect(bytesSent).toBe(64 * 1024);
    expect(checkpoint.metadata).toEqual({ format: "pt" });
    expect(checkpoint.tensors).toEqual(model.map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, byteLength: bytes.length })));
    const tensors = await checkpoint.load();
    expect([...tensors.keys()]).toEqual(model.map(({ name }) => name));
    for (const { name, dtype, shape, bytes } of model) {
      expect(tensors.get(name)).toMatchObject({ name, dtype, shape });
      expect(sameBytes(tensors.get(name), bytes)).toBe(true);
    }
    expect([...tensors.values()].map(({ data }) => data.constructor)).toEqual([
      Float32Array,
      Uint8Array,
      Uint8Array,
      Float32Array,
      BigInt64Array,
      Float64Array,
    ]);
    expect(tensors.get("wpe")!.toFloat32().length).toBe(500_000);
    expect(new Set([...tensors.values()].map(({ bytes }) => bytes.buffer)).size).toBe(1);
  });

  test("the second load asks the origin whether the file is still the same, and for no data", async () => {
    const mill = await open({ engine });
    await (await mill.checkpoint("/ckpt/model.safetensors")).load();
    await origin.reset();
    const again = await (await mill.checkpoint("/ckpt/model.safetensors")).load();
    expect(sameBytes(again.get("wte"), model[0]!.bytes)).toBe(true);
    expect(await origin.stats()).toMatchObject({ requests: 1, kinds: { head: 1 } });
  });
});

test("some tensors by name, in the order of the file; the bytes between are not read", async () => {
  const mill = await open({ cache: { memory: 0 } });
  const checkpoint = await mill.checkpoint("/ckpt/model.safetensors");
  await origin.reset();
  const tensors = await checkpoint.load({ names: ["step", "odd", "odd"] });
  expect([...tensors.keys()]).toEqual(["odd", "step"]);
  for (const { name, bytes } of [model[1]!, model[5]!]) expect(sameBytes(tensors.get(name), bytes)).toBe(true);
  expect((await origin.stats()).bytesSent).toBe(11);
  expect((await checkpoint.load({ names: [] })).size).toBe(0);
});

test("rows are read by their own ranges", async () => {
  const mill = await open({ cache: { memory: 0 } });
  const checkpoint = await mill.checkpoint("/ckpt/model.safetensors");
  await origin.reset();
  const rows = await checkpoint.tensor("wpe", { rows: { from: 10, to: 13 } });
  expect(rows.shape).toEqual([3, 500]);
  expect(sameBytes(rows, model[2]!.bytes.subarray(10_000, 13_000))).toBe(true);
  expect((await origin.stats()).bytesSent).toBe(3000);
  expect((await checkpoint.tensor("wpe", { rows: { from: 5, to: 5 } })).bytes.length).toBe(0);
  expect((await checkpoint.tensor("none", { rows: { from: 0, to: 0 } })).shape).toEqual([0, 7]);
});

test("rows that are none are refused, as is a tensor that is not there", async () => {
  await origin.put("data", "ckpt/f4.safetensors", fileWith([made("packed", "F4", [4, 3], 6)]));
  const mill = await open();
  const checkpoint = await mill.checkpoint("/ckpt/model.safetensors");
  const config = (message: RegExp) => expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringMatching(message) });
  for (const rows of [
    { from: 0, to: 1001 },
    { from: -1, to: 1 },
    { from: 2, to: 1 },
    { from: 0.5, to: 1 },
  ])
    await expect(checkpoint.tensor("wpe", { rows })).rejects.toEqual(config(/^rows of tensor "wpe": .* are not among its 1000$/));
  await expect(checkpoint.tensor("step", { rows: { from: 0, to: 1 } })).rejects.toEqual(config(/it is a scalar/));
  const packed = await mill.checkpoint("/ckpt/f4.safetensors");
  await expect(packed.tensor("packed", { rows: { from: 0, to: 1 } })).rejects.toEqual(config(/do not begin and end at whole bytes/));
  expect((await packed.tensor("packed", { rows: { from: 2, to: 4 } })).bytes.length).toBe(3);
  const missing = { code: "MILLRACE_NOT_FOUND", message: '/ckpt/model.safetensors has no tensor "wt"; `tensors` lists the 6 it has' };
  await expect(checkpoint.tensor("wt")).rejects.toMatchObject(missing);
  await expect(checkpoint.load({ names: ["wte", "wt"] })).rejects.toMatchObject(missing);
});

test("a stream comes in the order of the file, and reads a bounded way ahead", async () => {
  const many = Array.from({ length: 20 }, (_, i) => ({
    name: `t${String(i).padStart(2, "0")}`,
    dtype: "U8",
    shape: [8 * MIB],
    bytes: drawn.subarray(i, i + 8 * MIB),
  }));
  await origin.put("data", "ckpt/many.safetensors", fileWith(many));
  const mill = await open({ cache: { memory: 0 } });
  const checkpoint = await mill.checkpoint("/ckpt/many.safetensors");
  await origin.reset();
  const names: string[] = [];
  for await (const tensor of checkpoint.stream()) {
    expect(sameBytes(tensor, many[names.length]!.bytes)).toBe(true);
    names.push(tensor.name);
    if (names.length === 1) expect((await origin.stats()).bytesSent).toBeLessThanOrEqual(80 * MIB);
  }
  expect(names).toEqual(many.map(({ name }) => name));
  // Of those named no others are read.
  await origin.reset();
  const named: string[] = [];
  for await (const tensor of checkpoint.stream({ names: ["t17", "t03", "t03"] })) {
    expect(sameBytes(tensor, many[Number(tensor.name.slice(1))]!.bytes)).toBe(true);
    named.push(tensor.name);
  }
  expect(named).toEqual(["t03", "t17"]);
  expect((await origin.stats()).bytesSent).toBeLessThanOrEqual(20 * MIB);
  const missing = checkpoint
    .stream({ names: ["t99"] })
    [Symbol.asyncIterator]()
    .next();
  await expect(missing).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND", message: expect.stringContaining('"t99"') });
});

test("more than is in flight at once, every byte in its place", async () => {
  const path = join(folder, "long.safetensors");
  const size = 150 * MIB;
  const bytes = Buffer.alloc(size, 7);
  for (let mebibyte = 0; mebibyte * MIB < size; mebibyte++) bytes.writeUInt32LE(mebibyte, mebibyte * MIB + 4 * mebibyte);
  await writeFile(path, fileWith([{ name: "t", dtype: "U8", shape: [size], bytes }]));
  for (const memory of [0, "256MiB"]) {
    const checkpoint = await (await open({ cache: { memory } })).checkpoint(`file://${path}`);
    for (let again = 0; again < 2; again++) expect(sameBytes(await checkpoint.tensor("t"), bytes)).toBe(true);
  }
});

test("leaving a stream ends its reads", async () => {
  await origin.shape({ connectionBytesPerSecond: 4e6 });
  const mill = await open({ cache: { memory: 0 } });
  const checkpoint = await mill.checkpoint("/ckpt/model.safetensors");
  for await (const tensor of checkpoint.stream()) if (tensor.name === "wte") break;
  expect((await origin.stats()).bytesSent).toBeLessThan(26 * MIB);
  await mill.close();
});

test("a header longer than the first read", async () => {
  const pad = 200_000;
  await origin.put("data", "ckpt/long.safetensors", fileWith([made("t", "F32", [2], 8)], { pad }));
  const mill = await open({ cache: { memory: 0 } });
  const { tensors } = await mill.checkpoint("/ckpt/long.safetensors");
  expect(tensors).toEqual([{ name: "t", dtype: "F32", shape: [2], byteLength: 8 }]);
  expect((await origin.stats()).kinds.get).toBe(2);
});

test("progress and abort", async () => {
  const mill = await open();
  const seen: Progress[] = [];
  const checkpoint = await mill.checkpoint("/ckpt/model.safetensors", { onProgress: (progress) => seen.push(progress) });
  expect(seen.at(-1)).toMatchObject({ objects: 1, totalObjects: 1 });
  const totalBytes = model.reduce((sum, { bytes }) => sum + bytes.length, 0);
  await checkpoint.load({ onProgress: (progress) => seen.push(progress) });
  expect(seen.at(-1)).toMatchObject({ bytes: totalBytes, totalBytes, objects: 6, totalObjects: 6, etaSeconds: 0 });
  await checkpoint.tensor("odd", { onProgress: (progress) => seen.push(progress) });
  expect(seen.at(-1)).toMatchObject({ bytes: 3, totalBytes: 3, objects: 1, totalObjects: 1 });

  await mill.evict("/ckpt");
  await origin.shape({ connectionBytesPerSecond: 1e6 });
  const controller = new AbortController();
  const aborted = checkpoint.load({ signal: controller.signal, onProgress: () => controller.abort() });
  setTimeout(() => controller.abort(), 200);
  await expect(aborted).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  await expect(mill.checkpoint("/ckpt/model.safetensors", { signal: AbortSignal.abort() })).rejects.toMatchObject({
    code: "MILLRACE_ABORTED",
  });
});

test("loads are counted", async () => {
  const mill = await open();
  const checkpoint = await mill.checkpoint("/ckpt/model.safetensors");
  await checkpoint.load();
  await checkpoint.tensor("odd");
  await expect(checkpoint.load({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  const totalBytes = model.reduce((sum, { bytes }) => sum + bytes.length, 0);
  await expect.poll(() => mill.stats().files, IN_TIME).toEqual({ reads: 3, bytes: 64 * 1024 + totalBytes + 3, reading: 0 });
});

test("a checkpoint that changes is refused, not mixed; opening it again sees the new one", async () => {
  const mill = await open({ cache: { memory: 0 } });
  const checkpoint = await mill.checkpoint("/ckpt/model.safetensors");
  await origin.put("data", "ckpt/model.safetensors", fileWith([made("new", "U8", [5], 5)]));
  await expect(checkpoint.load()).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
  expect((await mill.checkpoint("/ckpt/model.safetensors")).tensors).toMatchObject([{ name: "new" }]);
  // What the mill believes of it is old, and nobody has read it since.
  await origin.put("data", "ckpt/model.safetensors", fileWith([made("newer", "U8", [6], 6)]));
  expect((await mill.checkpoint("/ckpt/model.safetensors")).tensors).toMatchObject([{ name: "newer" }]);
});

describe("several files", () => {
  const first = [made("a", "F32", [4], 16), made("b", "U8", [5], 5)];
  const second = [made("c", "I16", [3], 6)];
  const names = ["m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors"] as const;
  const put = async (weights: Record<string, string>, files: readonly (readonly MadeTensor[])[] = [first, second]) => {
    for (const [i, tensors] of files.entries())
      await origin.put("data", `ckpt/${names[i]}`, fileWith(tensors, { metadata: { format: "pt", [`file${i}`]: "x", of: String(i) } }));
    await origin.put(
      "data",
      "ckpt/m.safetensors.index.json",
      Buffer.from(JSON.stringify({ metadata: { total_size: 27 }, weight_map: weights })),
    );
  };
  const right = { c: names[1], a: names[0], b: names[0] };
  const refused = (message: RegExp) => ({ code: "MILLRACE_FORMAT", message: expect.stringMatching(message) });

  test("are one checkpoint by their index", async () => {
    await put(right);
    const mill = await open();
    const checkpoint = await mill.checkpoint("/ckpt/m.safetensors.index.json");
    expect(checkpoint.tensors.map(({ name }) => name)).toEqual(["a", "b", "c"]);
    expect(checkpoint.metadata).toEqual({ format: "pt", file0: "x", file1: "x", of: "0" });
    const tensors = await checkpoint.load();
    for (const { name, bytes } of [...first, ...second]) expect(sameBytes(tensors.get(name), bytes)).toBe(true);
    expect(sameBytes(await checkpoint.tensor("c", { rows: { from: 1, to: 2 } }), second[0]!.bytes.subarray(2, 4))).toBe(true);
    const streamed: string[] = [];
    for await (const { name } of checkpoint.stream()) streamed.push(name);
    expect(streamed).toEqual(["a", "b", "c"]);
  });

  test("must hold what the index says, and nothing else", async () => {
    const mill = await open();
    const opened = () => mill.checkpoint("/ckpt/m.safetensors.index.json");
    await put({ ...right, d: names[0] });
    await expect(opened()).rejects.toMatchObject(
      refused(/tensor "d": weight_map says that it is in .*m-00001-of-00002.safetensors, which lacks it/),
    );
    await put({ c: names[1], a: names[0] });
    await mill.invalidate("/ckpt");
    await expect(opened()).rejects.toMatchObject(refused(/tensor "b": it is in .*m-00001.*, but weight_map does not say so/));
    await put({ ...right, c: "../m.safetensors" });
    await mill.invalidate("/ckpt");
    await expect(opened()).rejects.toMatchObject(refused(/tensor "c": its file "..\/m.safetensors" does not lie beside the index/));
    await put({ ...right, z: "gone.safetensors" });
    await mill.invalidate("/ckpt");
    await expect(opened()).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });
});

test("what is no checkpoint is refused by its name", async () => {
  const mill = await open();
  await origin.put("data", "ckpt/zero", new Uint8Array(0));
  await origin.put("data", "ckpt/text", Buffer.from("this is no safetensors file"));
  await origin.put("data", "ckpt/text.index.json", Buffer.from("nor an index"));
  for (const name of ["zero", "text", "text.index.json"])
    await expect(mill.checkpoint(`/ckpt/${name}`)).rejects.toMatchObject({
      code: "MILLRACE_FORMAT",
      message: expect.stringContaining(`/ckpt/${name}: `),
    });
  await expect(mill.checkpoint("/ckpt/missing")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  await expect(mill.checkpoint(5 as unknown as string)).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
});

describe("longer than 4 GiB", () => {
  /** A sparse file of these bytes, with `marks` written into it. */
  async function sparse(
    name: string,
    header: object,
    dataBytes: number,
    marks: readonly [at: number, bytes: Uint8Array][],
  ): Promise<string> {
    const path = join(folder, name);
    const head = safetensorsFile(header);
    await writeFile(path, head);
    const file = await openFile(path, "r+");
    for (const [place, bytes] of marks) await file.write(bytes, 0, bytes.length, head.length + place);
    await file.truncate(head.length + dataBytes);
    await file.close();
    return `file://${path}`;
  }

  test("a tensor is read by rows; whole it is refused, with what to do", async () => {
    const rows = 5 * 1024;
    const path = await sparse(
      "tensor.safetensors",
      { big: entry("U8", [rows, MIB], 0, 5 * GIB), small: entry("U8", [4], 5 * GIB, 5 * GIB + 4) },
      5 * GIB + 4,
      [
        [4 * GIB + 7, Buffer.from("within")],
        [5 * GIB, Buffer.from("last")],
      ],
    );
    const mill = await open({ cache: { memory: 0 } });
    const checkpoint = await mill.checkpoint(path);
    const row = await checkpoint.tensor("big", { rows: { from: 4096, to: 4097 } });
    expect(bytesOf(row).subarray(7, 13).toString()).toBe("within");
    expect(bytesOf(await checkpoint.tensor("small")).toString()).toBe("last");
    if (process.versions.node.startsWith("20.")) {
      const refused = {
        code: "MILLRACE_CONFIG",
        message: expect.stringMatching(/tensor "big" .*5368709120 bytes are more than the 4294967296 .*`rows`/),
      };
      await expect(checkpoint.tensor("big")).rejects.toMatchObject(refused);
      await expect(checkpoint.load()).rejects.toMatchObject(refused);
      await expect(checkpoint.stream()[Symbol.asyncIterator]().next()).rejects.toMatchObject(refused);
      const whole = { code: "MILLRACE_CONFIG", message: expect.stringMatching(/bytes are more than the 4294967296 .*`begin` to `end`/) };
      await expect(mill.readFile(path)).rejects.toMatchObject(whole);
    }
  });

  test("a file is read tensor by tensor, wherever they lie", async () => {
    const header = {
      a: entry("U8", [3 * GIB], 0, 3 * GIB),
      b: entry("U16", [GIB, 2], 3 * GIB, 7 * GIB),
      c: entry("F32", [2], 7 * GIB, 7 * GIB + 8),
    };
    const path = await sparse("file.safetensors", header, 7 * GIB + 8, [[7 * GIB, new Uint8Array(Float32Array.of(1, 2).buffer)]]);
    const mill = await open({ cache: { memory: 0 } });
    const checkpoint = await mill.checkpoint(path);
    const { data } = (await checkpoint.load({ names: ["c"] })).get("c")!;
    expect(data).toEqual(Float32Array.of(1, 2));
    expect((await checkpoint.tensor("b", { rows: { from: GIB - 1, to: GIB } })).shape).toEqual([1, 2]);
  });
});

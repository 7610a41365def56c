/** Checkpoints saved through to the origin: one file and sharded, whole or not there, in the cache afterwards, older ones removed. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { type Millrace, MillraceError, type MillraceOptions, type NamedTensor, openMillrace, type Progress } from "../../src/index.js";
import { MemoryStore } from "../../src/storage/memory-store.js";
import { drawnBytes } from "../../src/testing/contract-bench.js";
import { startCutting } from "../support/cutting-proxy.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

const MIB = 2 ** 20;
let origin: Origin;
let folder: string;
const mills: Millrace[] = [];
const open = async (options: MillraceOptions = {}): Promise<Millrace> => {
  const mounts = { "/ckpt": { uri: "s3://data/ckpt", admission: "lru" }, "/files": `file://${folder}/files`, ...options.mounts } as const;
  mills.push(await openMillrace({ engine: "inline", cache: { memory: "64MiB" }, s3: s3Options(origin), ...options, mounts }));
  return mills.at(-1)!;
};
const kinds = async () => (await origin.stats()).kinds;
const paths = async (mill: Millrace, prefix: string) => {
  const all: string[] = [];
  for await (const { path } of mill.list(prefix)) all.push(path);
  return all;
};

/** 21 MiB: three parts, the last one short, and tensors across their edges. */
const tensors: NamedTensor[] = [
  { name: "head", dtype: "BF16", shape: [3, MIB], data: drawnBytes(6 * MIB, 2) },
  { name: "wte", dtype: "F32", shape: [3, MIB], data: new Float32Array(drawnBytes(12 * MIB, 1).buffer) },
  { name: "blank", dtype: "F32", shape: [0, 4], data: new Float32Array(0) },
  { name: "step", dtype: "I64", shape: [], data: BigInt64Array.of(12n) },
  // A view in the middle of other memory.
  { name: "mask", dtype: "BOOL", shape: [3 * MIB - 1], data: drawnBytes(4 * MIB, 3).subarray(7, 3 * MIB + 6) },
];
const bytesOf = ({ data }: NamedTensor) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
async function expectSaved(mill: Millrace, path: string, saved: readonly NamedTensor[] = tensors) {
  const loaded = await (await mill.checkpoint(path)).load();
  expect([...loaded.keys()].sort()).toEqual(saved.map(({ name }) => name).sort());
  for (const tensor of saved) {
    const { dtype, shape, bytes } = loaded.get(tensor.name)!;
    expect({ dtype, shape }).toEqual({ dtype: tensor.dtype, shape: tensor.shape });
    expect(Buffer.compare(bytes, bytesOf(tensor))).toBe(0);
  }
}
const small = (value: number): NamedTensor[] => [{ name: "w", dtype: "F32", shape: [2], data: Float32Array.of(value, 1) }];

beforeAll(async () => {
  origin = await startOrigin({ buckets: ["data"] });
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
});
beforeEach(async () => {
  await origin.clearFaults();
  await origin.shape({});
  await origin.reset();
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true, force: true });
});

describe.each(["inline", "worker"] as const)("through, engine %s", (engine) => {
  test("the origin has it, and so has the cache: a reload asks the origin nothing", async () => {
    const mill = await open({ engine });
    const seen: Progress[] = [];
    const path = `/ckpt/${engine}/step-1.safetensors`;
    const info = await mill.saveCheckpoint(path, tensors, { metadata: { run: "a" }, onProgress: (now) => seen.push(now) });
    expect(seen.at(-1)).toMatchObject({ bytes: info.size, totalBytes: info.size, objects: 1, totalObjects: 1 });
    await origin.reset();
    expect(await mill.stat(path)).toMatchObject({ path, size: info.size, etag: info.etag });
    await expectSaved(mill, path);
    expect((await origin.stats()).requests).toBe(0);
    expect((await mill.checkpoint(path)).metadata).toEqual({ run: "a" });
    const other = await open();
    expect(await other.stat(path)).toMatchObject({ size: info.size, etag: info.etag });
    await expectSaved(other, path);
    expect(mill.stats().saves).toMatchObject({ through: 1, back: 0, bytes: info.size, pending: 0, failed: 0 });
  });
});

test("it is in the cache whatever its size, and of a mill that opens the cache directory later", async () => {
  const cache = { memory: 0, disk: [{ path: join(folder, "cache"), capacity: "200MiB" }] };
  const mill = await open({ cache });
  // More than a write keeps in hand.
  const large = Array.from({ length: 6 }, (_, i) => ({
    name: `t${i}`,
    dtype: "U8" as const,
    shape: [13 * MIB],
    data: drawnBytes(13 * MIB, i),
  }));
  await mill.saveCheckpoint("/ckpt/large.safetensors", large);
  await mill.close();
  await origin.reset();
  const again = await open({ cache });
  await expectSaved(again, "/ckpt/large.safetensors", large);
  expect(await kinds()).toMatchObject({ get: 0, head: 1 });
  expect(again.stats().disk).toMatchObject({ checksumMisses: 0 });
  // Longer than the memory of its parts in flight: eight that are sent, one that is filled.
  expect(mill.stats().memory!.workingPeakBytes).toBeLessThanOrEqual(9 * 8 * MIB + 64 * MIB);
});

test("the bytes are canonical, and those of an async source the same", async () => {
  const mill = await open();
  const late = async function* () {
    for (const tensor of tensors) {
      await new Promise((resolve) => setImmediate(resolve));
      yield tensor;
    }
  };
  const [a, b] = [
    await mill.saveCheckpoint("/ckpt/a.safetensors", [...tensors].reverse()),
    await mill.saveCheckpoint("/ckpt/b.safetensors", late()),
  ];
  expect(Buffer.compare(await mill.readFile(a.path), await mill.readFile(b.path))).toBe(0);
  const { tensors: order } = await mill.checkpoint(a.path);
  expect(order.map(({ name }) => name)).toEqual(["step", "blank", "wte", "head", "mask"]);
});

test("no tensors at all, and a file store: one file or shards", async () => {
  const mill = await open();
  await mill.saveCheckpoint("/files/none.safetensors", []);
  expect((await mill.checkpoint("/files/none.safetensors")).tensors).toEqual([]);
  await mill.saveCheckpoint("/files/one.safetensors", tensors);
  await expectSaved(await open(), "/files/one.safetensors");
  const { path } = await mill.saveCheckpoint("/files/many.safetensors", tensors, { maxShardBytes: "8MiB" });
  await expectSaved(await open(), path);
  expect((await readdir(join(folder, "files"))).filter((name) => name.includes("tmp"))).toEqual([]);
});

describe("sharded", () => {
  test("the index comes last, and the shards of the version that it replaces go", async () => {
    const mill = await open();
    const { path, size } = await mill.saveCheckpoint("/ckpt/many/m.safetensors", tensors, {
      maxShardBytes: 10 * MIB,
      metadata: { a: "b" },
    });
    expect(path).toBe("/ckpt/many/m.safetensors.index.json");
    const first = await paths(mill, "/ckpt/many");
    expect(first).toHaveLength(4);
    const named = /^\/ckpt\/many\/m-([0-9a-f]{8})-0000(\d)-of-00003\.safetensors$/;
    expect(first.slice(0, 3).map((name) => named.exec(name)?.[2])).toEqual(["1", "2", "3"]);
    await origin.reset();
    await expectSaved(mill, path);
    expect((await origin.stats()).requests).toBe(0);
    const index = JSON.parse(Buffer.from(await mill.readFile(path)).toString());
    expect(index.metadata.total_size).toBe(tensors.reduce((sum, { data }) => sum + data.byteLength, 0));
    expect(size).toBe((await mill.readFile(path)).length);
    expect((await mill.checkpoint(path)).metadata).toEqual({ a: "b" });
    // Of the same name anew: nothing of the first is overwritten before the second is whole.
    await origin.put("data", "ckpt/many/m-00001-of-00001.safetensors", new Uint8Array(1));
    await mill.saveCheckpoint(path, small(1));
    const second = await paths(mill, "/ckpt/many");
    expect(second.filter((name) => first.includes(name))).toEqual([path]);
    expect(second).toHaveLength(3); // The object that the first index did not name stays.
    await expectSaved(await open(), path, small(1));
  });

  test("a save that fails leaves the old checkpoint whole, and nothing of its own", async () => {
    const mill = await open();
    const { path } = await mill.saveCheckpoint("/ckpt/kept/m.safetensors", small(1), { maxShardBytes: 1 });
    const before = await paths(mill, "/ckpt/kept");
    const stop = new AbortController();
    const stopping = tensors.map((tensor) => ({ ...tensor, name: `${tensor.name}2` }));
    // The index is the only object put whole: its shard is more than a part.
    await origin.failNext(100, "hang", { kind: "put" });
    const saving = mill.saveCheckpoint(path, stopping, { maxShardBytes: "1GiB", signal: stop.signal });
    await expect.poll(async () => (await kinds()).put, IN_TIME).toBeGreaterThan(1);
    stop.abort();
    await expect(saving).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await origin.clearFaults();
    await expect
      .poll(
        () => paths(mills[0]!, "/ckpt/kept").then(async () => (await mill.invalidate("/ckpt/kept")) >= 0 && paths(mill, "/ckpt/kept")),
        IN_TIME,
      )
      .toEqual(before);
    await expectSaved(await open(), path, small(1));
  });
});

test("an index that was written though its answer was lost keeps its shards", async () => {
  const held = await startCutting(origin.endpoint, (request) => /^PUT \S*index\.json/.test(request));
  const mill = await open({ s3: { ...s3Options(origin), endpoint: held.url } });
  const path = "/ckpt/lost/m.safetensors.index.json";
  const stop = new AbortController();
  const saving = mill.saveCheckpoint(path, small(2), { signal: stop.signal });
  saving.catch(() => {});
  await held.cut;
  stop.abort();
  await expect(saving).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  await expectSaved(await open(), path, small(2));
  await mill.close();
  await held.close();
});

describe("an index that was written though its answer was lost, of a checkpoint that replaces another", () => {
  const target = "memory://lost-index/m.safetensors";
  const below = async () => paths(await open(), "memory://lost-index");
  /** The first write of an index takes place, and neither it nor those after it say so. */
  function loseAnswers(then: () => void = () => {}): { mockRestore(): void } {
    const { write } = MemoryStore.prototype;
    return vi.spyOn(MemoryStore.prototype, "write").mockImplementation(async function (this: MemoryStore, path, ...rest) {
      const stored = await write.call(this, path, ...rest);
      if (!path.endsWith(".index.json")) return stored;
      then();
      throw new MillraceError("MILLRACE_UNAVAILABLE", "the answer was lost");
    });
  }

  test("is looked for: the save is whole, and the shards of the other go", async () => {
    await (await open()).saveCheckpoint(target, small(1), { maxShardBytes: 8 });
    const before = await below();
    const lost = loseAnswers();
    const mill = await open();
    const info = await mill.saveCheckpoint(target, small(2), { maxShardBytes: 8 });
    lost.mockRestore();
    expect(await (await open()).stat(info.path)).toEqual(info);
    const after = await below();
    expect(after).toHaveLength(2);
    expect(after.filter((path) => before.includes(path))).toEqual([info.path]);
    await expectSaved(mill, target, small(2));
  });

  test("after an abort, too: the save is not, but there is one checkpoint", async () => {
    await (await open()).saveCheckpoint(target, small(3), { maxShardBytes: 8 });
    const before = await below();
    const stop = new AbortController();
    const lost = loseAnswers(() => stop.abort());
    const mill = await open();
    const saving = mill.saveCheckpoint(target, small(4), { maxShardBytes: 8, signal: stop.signal });
    await expect(saving).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await expect.poll(async () => (await below()).filter((path) => before.includes(path)), IN_TIME).toEqual([`${target}.index.json`]);
    lost.mockRestore();
    await expectSaved(await open(), target, small(4));
  });
});

test("of a save that fails each shard is removed that can be, and the others are named in the log", async () => {
  const logged: { shards?: string[] }[] = [];
  const log = (fields: object) => void logged.push(fields);
  const { remove, write } = MemoryStore.prototype;
  vi.spyOn(MemoryStore.prototype, "write").mockImplementation(async function (this: MemoryStore, path, ...rest) {
    if (path.endsWith(".index.json")) throw new MillraceError("MILLRACE_PERMISSION", "no index here");
    return write.call(this, path, ...rest);
  });
  const removing = vi.spyOn(MemoryStore.prototype, "remove").mockImplementation(async function (this: MemoryStore, path, ...rest) {
    if (path.includes("00001-of")) throw new MillraceError("MILLRACE_PERMISSION", "not this one");
    return remove.call(this, path, ...rest);
  });
  const mill = await open({ logger: { debug: log, info: log, warn: log, error: log } });
  const saving = mill.saveCheckpoint("memory://taken-back/m.safetensors", tensors, { maxShardBytes: 10 * MIB });
  await expect(saving).rejects.toMatchObject({ code: "MILLRACE_PERMISSION", message: expect.stringContaining("no index here") });
  expect(removing).toHaveBeenCalledTimes(3);
  vi.restoreAllMocks();
  const left = await paths(mill, "memory://taken-back");
  expect(left).toEqual([expect.stringContaining("00001-of-00003")]);
  await expect.poll(() => logged.flatMap(({ shards }) => shards ?? []), IN_TIME).toEqual([left[0]!.slice("memory://taken-back/".length)]);
});

describe("one name, two forms", () => {
  test.each(["through", "back"] as const)("%s: the new one replaces the other, whichever comes first", async (write) => {
    const cache = { memory: "64MiB", disk: [{ path: join(folder, `forms-${write}`), capacity: "64MiB" }] };
    const mill = await open({ cache });
    const plain = `/ckpt/forms-${write}/m.safetensors`;
    await mill.writeFile(`${plain}.index.json.bak`, "x");
    const save = async (value: number, sharded: boolean) => {
      await mill.saveCheckpoint(plain, small(value), { write, ...(sharded && { maxShardBytes: 8 }) });
      await mill.flush();
      await mill.invalidate("/ckpt");
      const names = (await paths(mill, `/ckpt/forms-${write}`)).map((path) => path.slice(plain.length - "m.safetensors".length));
      expect(names).toHaveLength(sharded ? 3 : 2);
      await expectSaved(await open(), plain, small(value));
    };
    for (const [i, sharded] of [false, true, false, true].entries()) await save(i, sharded);
    await expectSaved(await open(), `${plain}.index.json`, small(3));
    await expect((await open()).checkpoint("/ckpt/none.safetensors")).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      message: expect.not.stringContaining("index.json"),
    });
  });

  test("of two nodes that save both at once the later one stays", async () => {
    const target = "memory://both-forms/m.safetensors";
    const [mill, other] = [await open(), await open()];
    const { write } = MemoryStore.prototype;
    const spy = vi.spyOn(MemoryStore.prototype, "write").mockImplementation(async function (this: MemoryStore, path, ...rest) {
      spy.mockRestore();
      const stored = await write.call(this, path, ...rest);
      await expect.poll(() => Date.now(), IN_TIME).toBeGreaterThan(Number(stored.lastModified));
      await other.saveCheckpoint(target, small(2), { maxShardBytes: 8 });
      return stored;
    });
    await mill.saveCheckpoint(target, small(1));
    for (const one of [mill, await open()]) await expectSaved(one, target, small(2));
  });

  test.each(["m.index.json", "m"])("an object of another kind that is called like it stays: %s", async (name) => {
    const mill = await open();
    const [other] = ["m", "m.index.json"].filter((one) => one !== name);
    await mill.writeFile(`/ckpt/unlike-${name}/${other}`, "the user's");
    await mill.saveCheckpoint(`/ckpt/unlike-${name}/${name}`, small(1));
    expect(Buffer.from(await (await open()).readFile(`/ckpt/unlike-${name}/${other}`)).toString()).toBe("the user's");
  });

  test("a sharded one that is saved anew while it is opened is opened as it is then; one that was opened has changed", async () => {
    const target = "memory://anew/m.safetensors";
    const save = async (value: number) => void (await other.saveCheckpoint(target, small(value), { maxShardBytes: 8 }));
    const [mill, other] = [await open({ cache: { memory: 0 } }), await open()];
    await save(1);
    let opened = 0;
    const { stat } = MemoryStore.prototype;
    const spy = vi.spyOn(MemoryStore.prototype, "stat").mockImplementation(async function (this: MemoryStore, path, ...rest) {
      // The index was read, its shard not yet.
      if (path.endsWith("-00001-of-00001.safetensors") && opened++ === 0) await save(2);
      return stat.call(this, path, ...rest);
    });
    await expectSaved(mill, target, small(2));
    spy.mockRestore();
    const before = await mill.checkpoint(target);
    await save(3);
    await expect(before.load()).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
    await expectSaved(mill, target, small(3));
  });

  test("one that this mill has saved in shards, and another since, is opened as it is, by either name", async () => {
    const target = "memory://others/m.safetensors";
    const [mill, other] = [await open({ cache: { memory: 0 } }), await open()];
    await mill.saveCheckpoint(target, small(1), { maxShardBytes: 8 });
    for (const [i, path] of [target, `${target}.index.json`].entries()) {
      await other.saveCheckpoint(target, small(2 + i), { maxShardBytes: 8 });
      await expectSaved(mill, path, small(2 + i));
    }
  });

  test("a shard that is not there is told by its index and a tensor of it", async () => {
    const mill = await open();
    const { path } = await mill.saveCheckpoint("/files/lost/m.safetensors", small(1), { maxShardBytes: 8 });
    const [shard] = (await readdir(join(folder, "files/lost"))).filter((name) => !name.endsWith(".json"));
    await rm(join(folder, "files/lost", shard!));
    await expect((await open()).checkpoint(path)).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      message: `${path}: /files/lost/${shard}, which it names for tensor "w", is not there`,
    });
  });
});

test("what another process has saved under a name since is seen at once, and what is still the same is read from the cache", async () => {
  const [mill, other] = [await open(), await open()];
  for (const target of ["/ckpt/latest/one.safetensors", "/ckpt/latest/m.safetensors.index.json"]) {
    await other.saveCheckpoint(target, small(1));
    await expectSaved(mill, target, small(1));
    await origin.reset();
    await expectSaved(mill, target, small(1));
    expect((await kinds()).get).toBe(0);
    await other.saveCheckpoint(target, small(2));
    await expectSaved(mill, target, small(2));
  }
});

describe("keep", () => {
  test("removes the older ones of its series when the new one is whole, and nothing else", async () => {
    const mill = await open();
    const others = [
      "step-x.safetensors",
      "step-3.bin",
      "other-1.safetensors",
      "sub/step-1.safetensors",
      "step-1-of-2.safetensors",
      "step-",
    ];
    for (const name of others) await mill.writeFile(`/ckpt/keep/${name}`, "x");
    for (const step of [1, 2, 10, 9]) await mill.saveCheckpoint(`/ckpt/keep/step-${step}.safetensors`, small(step));
    await mill.saveCheckpoint("/ckpt/keep/step-11.safetensors", small(11), { keep: 2 });
    const left = [...others, "step-10.safetensors", "step-11.safetensors"].map((name) => `/ckpt/keep/${name}`).sort();
    expect((await paths(mill, "/ckpt/keep")).sort()).toEqual(left);
    expect(mill.stats().saves).toMatchObject({ removed: 3 });
    await expect(mill.checkpoint("/ckpt/keep/step-9.safetensors")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    // One that is older than others removes none of them.
    await mill.saveCheckpoint("/ckpt/keep/step-4.safetensors", small(4), { keep: 1 });
    expect(await paths(mill, "/ckpt/keep")).toHaveLength(left.length + 1);
    await expectSaved(mill, "/ckpt/keep/step-10.safetensors", small(10));
  });

  test("shards go with their index", async () => {
    const mill = await open();
    const two = [...small(1), { ...small(2)[0]!, name: "v" }];
    for (const step of [1, 2]) await mill.saveCheckpoint(`/ckpt/shards/s-${step}.safetensors`, two, { maxShardBytes: 8, keep: 1 });
    const left = await paths(mill, "/ckpt/shards");
    expect(left).toHaveLength(3);
    expect(left.every((path) => path.startsWith("/ckpt/shards/s-2"))).toBe(true);
    await expectSaved(mill, "/ckpt/shards/s-2.safetensors.index.json", two);
  });

  test("removes nothing where the save fails", async () => {
    const mill = await open();
    await mill.saveCheckpoint("/ckpt/failed/s-1.safetensors", small(1));
    await origin.failNext(1, "AccessDenied", { kind: "put" });
    await expect(mill.saveCheckpoint("/ckpt/failed/s-2.safetensors", small(2), { keep: 1 })).rejects.toMatchObject({
      code: "MILLRACE_PERMISSION",
    });
    await expectSaved(mill, "/ckpt/failed/s-1.safetensors", small(1));
  });
});

test("saves of one name come one after the other, a writeFile among them", async () => {
  const mill = await open();
  const path = "/ckpt/one.safetensors";
  await origin.failNext(3, 503, { kind: "put" });
  const all = [
    mill.saveCheckpoint(path, small(1)),
    mill.saveCheckpoint(path, small(2)),
    mill.writeFile(path, "x"),
    mill.saveCheckpoint(path, small(3)),
  ];
  await Promise.all(all);
  await expectSaved(mill, path, small(3));
  await expectSaved(await open(), path, small(3));
});

describe("failures", () => {
  test.each([
    ["a part's request", 500],
    ["too many requests", 503],
    ["a connection that breaks", "reset"],
  ] as const)("%s is sent again", async (_, fault) => {
    const mill = await open();
    await origin.failNext(3, fault, { kind: "multipart" });
    await mill.saveCheckpoint("/ckpt/retried.safetensors", tensors);
    await expectSaved(await open(), "/ckpt/retried.safetensors");
  });

  test("an abort, and the mill's end: the parts are taken back, and nothing is there", async () => {
    for (const end of ["abort", "close"]) {
      const mill = await open();
      const stop = new AbortController();
      await origin.reset();
      await origin.shape({ firstByteMs: 300 });
      const saving = mill.saveCheckpoint(`/ckpt/${end}.safetensors`, tensors, { signal: stop.signal });
      saving.catch(() => {});
      await expect.poll(async () => (await kinds()).multipart, IN_TIME).toBeGreaterThan(1);
      if (end === "abort") stop.abort();
      else await mill.close();
      await expect(saving).rejects.toMatchObject({ code: end === "abort" ? "MILLRACE_ABORTED" : "MILLRACE_CLOSED" });
      // The answer to AbortMultipartUpload, and to nothing else here.
      await expect.poll(async () => (await origin.stats()).statuses["204"], IN_TIME).toBe(1);
      const other = await open();
      await expect(other.stat(`/ckpt/${end}.safetensors`)).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
      if (end === "abort") await expect.poll(() => mill.stats().memory!.workingBytes, IN_TIME).toBe(0);
    }
  });

  test.each([
    ["read-only mount", "/fixed/x.safetensors", small(1), {}, "MILLRACE_PERMISSION", "read-only"],
    ["no object", "s3://data", small(1), {}, "MILLRACE_CONFIG", "names no object"],
    ["a folder", "/ckpt/a/", small(1), {}, "MILLRACE_CONFIG", "names no object"],
    ["no series", "/ckpt/last.safetensors", small(1), { keep: 2 }, "MILLRACE_CONFIG", "keep"],
    ["keep nothing", "/ckpt/s-1.safetensors", small(1), { keep: 0 }, "MILLRACE_CONFIG", "keep"],
    ["back without a disk", "/ckpt/s-1.safetensors", small(1), { write: "back" }, "MILLRACE_CONFIG", "cache.disk"],
    ["an unknown option", "/ckpt/s-1.safetensors", small(1), { wirte: "back" }, "MILLRACE_CONFIG", "wirte"],
    ["no tensors", "/ckpt/s-1.safetensors", 5, {}, "MILLRACE_CONFIG", "iterable"],
    ["no data", "/ckpt/s-1.safetensors", [{ ...small(1)[0], data: [1, 2] }], {}, "MILLRACE_CONFIG", '"w"'],
    ["data of another length", "/ckpt/s-1.safetensors", [{ ...small(1)[0], shape: [3] }], {}, "MILLRACE_CONFIG", "takes 12 bytes"],
    ["one name twice", "/ckpt/s-1.safetensors", [...small(1), ...small(2)], {}, "MILLRACE_CONFIG", "twice"],
  ])("%s", async (_, path, given, options, code, message) => {
    const mill = await open({ mounts: { "/fixed": { uri: "s3://data/root", readOnly: true } } });
    const saving = mill.saveCheckpoint(path, given as NamedTensor[], options as object);
    await expect(saving).rejects.toMatchObject({ code, message: expect.stringContaining(message) });
    expect((await origin.stats()).requests).toBe(0);
  });

  test.each(["before", "meanwhile"])("memory that is transferred %s", async (when) => {
    const mill = await open({ engine: "worker" });
    await origin.shape({ firstByteMs: 300 });
    // Longer than the parts that are in flight at once.
    const data = new Uint8Array(88 * MIB);
    const saving = mill.saveCheckpoint("/ckpt/gone.safetensors", [{ name: "t", dtype: "U8", shape: [data.length], data }]);
    saving.catch(() => {});
    if (when === "meanwhile") await expect.poll(async () => (await kinds()).multipart, IN_TIME).toBeGreaterThan(2);
    structuredClone(data.buffer, { transfer: [data.buffer] });
    await expect(saving).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringContaining("transferred") });
    await expect(mill.stat("/ckpt/gone.safetensors")).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
  });
});

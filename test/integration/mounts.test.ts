/** From the paths a caller writes to the objects they name, and back; and what a source may be. */
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace } from "../../src/index.js";
import { makeDataset } from "../support/datasets/index.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

let origin: Origin;
let folder: string;
const mills: Millrace[] = [];
const open = async (options: MillraceOptions = {}): Promise<Millrace> => {
  mills.push(await openMillrace({ engine: "inline", cache: { memory: "16MiB" }, s3: s3Options(origin), ...options }));
  return mills.at(-1)!;
};
const text = async (mill: Millrace, path: string) => Buffer.from(await mill.readFile(path)).toString();
const paths = async (list: AsyncIterable<{ path: string }>) => {
  const all: string[] = [];
  for await (const { path } of list) all.push(path);
  return all;
};
const files = async (names: readonly string[]) => {
  const root = await mkdtemp(join(folder, "files-"));
  for (const name of names) {
    await mkdir(dirname(join(root, name)), { recursive: true });
    await writeFile(join(root, name), name);
  }
  return root;
};

beforeAll(async () => {
  origin = await startOrigin();
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(async () => {
  await origin.close();
  await rm(folder, { recursive: true, force: true });
});

describe("mounts", () => {
  test("the longest prefix wins, at whole segments; slashes at ends do not matter", async () => {
    for (const key of ["x", "sub/x", "sub/deep/x", "subway/x"]) await origin.put("tree", key, Buffer.from(`tree ${key}`));
    await origin.put("other", "below/x", Buffer.from("other below/x"));
    const mill = await open({ mounts: { "/a": "s3://tree", "/a/sub/": "s3://other/below/", "/ab": "s3://tree/sub" } });
    expect(await text(mill, "/a/x")).toBe("tree x");
    expect(await text(mill, "/a/sub/x")).toBe("other below/x");
    expect(await text(mill, "/a/subway/x")).toBe("tree subway/x");
    expect(await text(mill, "/ab/deep/x")).toBe("tree sub/deep/x");
    expect(await text(mill, "s3://tree/sub/x")).toBe("tree sub/x");
    expect(await text(mill, "S3://tree/sub/x")).toBe("tree sub/x");
    expect(await paths(mill.list("/ab/"))).toEqual(["/ab/deep/x", "/ab/x"]);
    for (const path of ["/abc/x", "/b", "x", ""]) await expect(mill.stat(path)).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
    await expect(mill.stat("/b")).rejects.toThrow(/\/a\/sub, \/ab, \/a|mounts: /);
  });

  test("a mount of the file system's root", async () => {
    const root = await files(["x"]);
    const mill = await open({ mounts: { "/local": "file:///" } });
    expect(await text(mill, `/local${root}/x`)).toBe("x");
    expect(await paths(mill.list(`/local${root}`))).toEqual([`/local${root}/x`]);
  });

  test("a mount with keys of its own: they are used for it and for nothing else", async () => {
    await origin.put("keys", "x", Buffer.from("x"));
    const good = s3Options(origin);
    const bad = { ...good, credentials: { accessKeyId: "nobody", secretAccessKey: "wrong" } };
    const mill = await open({ s3: bad, mounts: { "/good": { uri: "s3://keys", s3: good }, "/bad": "s3://keys" } });
    await expect(mill.stat("/bad/x")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    expect(await text(mill, "/good/x")).toBe("x");
    await expect(mill.stat("s3://keys/y")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
  });

  test("share bounds what a mount holds; lru lets the oldest go", async () => {
    for (let i = 0; i < 12; i++) for (const bucket of ["shared", "rolled"]) await origin.put(bucket, `${i}`, new Uint8Array(2 ** 20));
    const mill = await open({
      cache: { memory: "8MiB" },
      mounts: { "/shared": { uri: "s3://shared", share: 0.25 }, "/rolled": { uri: "s3://rolled", admission: "lru", share: 0.5 } },
    });
    expect(await mill.prefetch("/shared").done).toMatchObject({ objects: 2 });
    const read = async (mount: string) => {
      for (let i = 0; i < 12; i++) await mill.readFile(`/${mount}/${i}`);
    };
    await read("rolled");
    expect(mill.stats().memory!.heldBytes).toBe(6 * 2 ** 20);
    await origin.reset();
    await mill.readFile("/rolled/11");
    expect((await origin.stats()).requests).toBe(0);
    await mill.readFile("/rolled/0");
    expect((await origin.stats()).kinds.get).toBe(1);
  });
});

describe("paths that were listed work as input again", () => {
  const odd = [
    "a b/c d.txt",
    "100%.txt",
    "a%20b",
    "x#y?z.txt",
    "ünï/日本.txt",
    "[1].bin",
    "star*.bin",
    "q?.bin",
    "{a,b}.bin",
    "it's.txt",
    "+&=.txt",
  ];

  test.each(["file", "s3"])("%s, bare and mounted, as file and as source", async (scheme) => {
    const root = await files(scheme === "file" ? odd : []);
    if (scheme === "s3") for (const name of odd) await origin.put("odd", `in/${name}`, Buffer.from(name));
    const uri = scheme === "file" ? `file://${root}` : "s3://odd/in";
    const mill = await open({ mounts: { "/m": uri } });
    for (const prefix of [uri, "/m"]) {
      const listed = await paths(mill.list(prefix));
      expect(listed.sort()).toEqual(odd.map((name) => `${prefix}/${name}`).sort());
      for (const path of listed) {
        expect(await text(mill, path)).toBe(path.slice(prefix.length + 1));
        expect((await mill.stat(path)).path).toBe(path);
        expect(await mill.prefetch(path).done).toMatchObject({ objects: 1, failures: [] });
      }
      expect(await mill.prefetch(listed).done).toMatchObject({ objects: odd.length, failures: [] });
    }
  });
});

describe("sources", () => {
  const made = makeDataset({ format: "tfrecord", samples: 40, shards: 4, bytesPerSample: 500 });
  const keys = [...made.objects.keys()];
  const fields = { image: "bytes", label: "int32" } as const;
  beforeAll(async () => {
    for (const [i, bytes] of [...made.objects.values()].entries()) {
      await origin.put("src", `train-${String(i).padStart(4, "0")}.tfrecord`, bytes);
      await origin.put("src", `deep/${i}/v1.0/part.tfrecord`, bytes);
    }
  });

  test.each([
    ["brace range", "s3://src/train-{0000..0003}.tfrecord", 4],
    ["brace list", "s3://src/train-{0000,0002}.tfrecord", 2],
    ["glob", "s3://src/train-*.tfrecord", 4],
    ["glob with a class", "s3://src/train-000[12].tfrecord", 2],
    ["glob over folders", "s3://src/**/part.tfrecord", 4],
    ["glob with braces", "s3://src/deep/{0,1}/*/part.tfrecord", 2],
    ["mounted glob", "/src/train-000?.tfrecord", 4],
    ["prefix", "s3://src/deep", 4],
    ["prefix that looks like a file", "s3://src/deep/1/v1.0", 1],
    ["file", "/src/train-0001.tfrecord", 1],
  ])("%s: %s", async (_name, source, shards) => {
    const mill = await open({ mounts: { "/src": "s3://src" } });
    const dataset = await mill.dataset(source, { fields });
    expect(dataset.shardCount).toBe(shards);
    expect(dataset.sampleCount).toBe(shards * 10);
  });

  test("a list keeps its order, and may hold patterns", async () => {
    const mill = await open();
    const dataset = await mill.dataset(["s3://src/train-0003.tfrecord", "s3://src/train-000{1,0}.tfrecord"], { fields });
    expect(dataset.shardCount).toBe(3);
    const sorted = await mill.dataset("s3://src/train-*.tfrecord", { fields });
    expect((await dataset.get(0)).label).toEqual((await sorted.get(30)).label);
    expect((await dataset.get(10)).image).toEqual((await sorted.get(10)).image);
  });

  test("what finds nothing says so", async () => {
    const mill = await open();
    for (const source of ["s3://src/none", "s3://src/none.tfrecord", "s3://src/no-*.tfrecord", "s3://src/train-{0000..0009}.tfrecord"])
      await expect(mill.dataset(source)).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
    await expect(mill.dataset([])).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: /empty list/ });
  });

  test("http: lists, braces and signed URLs; no glob, no prefix", async () => {
    const web = await startOrigin({ anonymousRead: true });
    try {
      for (const [i, bytes] of [...made.objects.values()].entries()) await web.put("src", `t-${i}.tfrecord`, bytes);
      const mill = await open();
      const at = (name: string) => `${web.endpoint}/src/${name}`;
      expect(
        (
          await mill.dataset(
            keys.map((_, i) => at(`t-${i}.tfrecord`)),
            { fields },
          )
        ).sampleCount,
      ).toBe(40);
      expect((await mill.dataset(at("t-{0..3}.tfrecord"), { fields })).sampleCount).toBe(40);
      expect((await mill.dataset(at("t-1.tfrecord?token=a*b[c"), { fields, format: "tfrecord" })).sampleCount).toBe(10);
      await expect(mill.dataset(at("t-*.tfrecord"))).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND" });
      const copy = await mill.materialize(at("t-1.tfrecord?token=secret"));
      expect(copy.path.endsWith("/t-1.tfrecord")).toBe(true);
    } finally {
      await web.close();
    }
  });

  test("sidecars: found by the listing, asked for where shards are named, never asked for where a listing has none", async () => {
    const indexed = makeDataset({ format: "tfrecord", samples: 40, shards: 2, bytesPerSample: 500, indexed: true });
    for (const [key, bytes] of indexed.objects) {
      await origin.put("side", `both/${key}`, bytes);
      if (!key.endsWith(".idx")) await origin.put("side", `bare/${key}`, bytes);
    }
    const shards = [...indexed.objects.keys()].filter((key) => !key.endsWith(".idx"));
    const asked = async (source: string | string[]) => {
      const mill = await open();
      await origin.reset();
      expect(await mill.dataset(source, { fields })).toMatchObject({ sampleCount: 40, shardCount: 2 });
      const { kinds, keys: read } = await origin.stats();
      return { heads: kinds.head, sidecars: Object.keys(read).filter((key) => key.endsWith(".idx")).length };
    };
    expect(await asked("s3://side/both")).toEqual({ heads: 0, sidecars: 2 });
    expect(await asked("s3://side/bare")).toEqual({ heads: 0, sidecars: 0 });
    const named = await asked(shards.map((key) => `s3://side/both/${key}`));
    expect(named.sidecars).toBe(2);
    expect(named.heads).toBeGreaterThanOrEqual(4);
    expect(await asked(shards.map((key) => `s3://side/bare/${key}`))).toMatchObject({ sidecars: 0 });
  });

  test("facts are believed until they are invalidated: a dataset opened twice lists and indexes once", async () => {
    const mill = await open();
    await origin.reset();
    await mill.dataset("s3://src/deep", { fields });
    const first = await origin.stats();
    expect(first.kinds.list).toBe(1);
    await mill.dataset("s3://src/deep", { fields });
    expect((await origin.stats()).requests).toBe(first.requests);
    await mill.invalidate("s3://src/deep");
    await mill.dataset("s3://src/deep", { fields });
    expect((await origin.stats()).kinds).toMatchObject({ list: 2, get: first.kinds.get });
  });

  test("after MILLRACE_CHANGED the dataset can be opened again without more ado", async () => {
    const mill = await open({ cache: { memory: 0 } });
    await origin.put("moving", "s.tfrecord", [...made.objects.values()][0]!);
    const dataset = await mill.dataset("s3://moving/", { fields });
    await origin.put("moving", "s.tfrecord", [...made.objects.values()][1]!);
    await expect(dataset.get(0)).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
    const again = await mill.dataset("s3://moving/", { fields });
    expect(again.fingerprint).not.toBe(dataset.fingerprint);
    expect((await again.get(0)).image.length).toBeGreaterThan(0);
  });
});

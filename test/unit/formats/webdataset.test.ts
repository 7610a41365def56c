import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import type { RecordIndex } from "../../../src/formats/format.js";
import { SCAN_SIZES } from "../../../src/formats/scan-window.js";
import { scanTar, webdataset } from "../../../src/formats/webdataset.js";
import { splitName } from "../../../src/formats/webdataset-name.js";
import { type TarMember, tarFile, webdatasetShard } from "../../support/datasets/index.js";
import { rawRecord } from "../../support/raw-record.js";
import { bytesRead, failure, memoryReader, text } from "./memory-reader.js";

const folder = mkdtempSync(join(tmpdir(), "millrace-tar-"));
afterAll(() => rmSync(folder, { recursive: true }));

const path = "train/a.tar";
const context = { shardPath: path, classes: undefined };
const member = (name: string, content = name): TarMember => ({ name, bytes: Buffer.from(content) });

async function samplesOf(bytes: Uint8Array): Promise<[string, Record<string, string>][]> {
  return contents(bytes, await webdataset.index(memoryReader(bytes, { path })));
}

function contents(bytes: Uint8Array, index: RecordIndex): [string, Record<string, string>][] {
  return index.keys!.map((key, i) => {
    const fields = webdataset.fields(rawRecord(bytes.subarray(index.begins[i], index.ends[i]), context), undefined);
    return [key, Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, text(value)]))];
  });
}

describe("names", () => {
  it.each(["a.tar", "x/a.TAR", "a.tgz", "a.tar.gz"])("%s is a shard", (name) => expect(webdataset.matches(name)).toBe(true));
  it.each(["a.tar.idx", "a.gz", "tar", "a.tar.zst"])("%s is none", (name) => expect(webdataset.matches(name)).toBe(false));
  it("knows compressed shards", () => {
    expect(["a.tar", "a.tgz", "a.tar.gz"].map(webdataset.compressed)).toEqual([false, true, true]);
  });
  it.each([
    ["a.jpg", "a", "jpg"],
    ["x.y/a.seg.PNG", "x.y/a", "seg.png"],
    ["./a.cls", "./a", "cls"],
    ["a.", "a", ""],
    ["__a.jpg", "__a", "jpg"],
  ])("%s is of key %s, field %s", (name, key, field) => expect(splitName(name)).toEqual({ key, field }));
  it.each(["a", ".hidden", "x/.a.jpg", "__index__.json", "__meta__/x.json", "./__x__", "dir.d/file"])("%s is no part of a sample", (name) =>
    expect(splitName(name)).toBeUndefined(),
  );
});

const LONG = `${"folder-".repeat(13)}x/${"deep/".repeat(9)}${"n".repeat(70)}`;
const LONGER = `${"very-long-folder-name/".repeat(12)}${"f".repeat(150)}`;
const UNICODE = "日本語/größe-🙂";

describe.each([
  ["ustar", ["a", "dir/b", LONG]],
  ["pax", ["a", LONG, LONGER, UNICODE]],
  ["gnu", ["a", LONG, LONGER, UNICODE]],
] as const)("archives of other writers: %s", (dialect, keys) => {
  const expected = keys.map((key) => [key, { cls: `${key}-cls`, "seg.txt": `${key}-${"t".repeat(600)}` }]);
  const root = join(folder, dialect);
  const names = keys.flatMap((key) => [`${key}.cls`, `${key}.seg.TXT`]);
  for (const key of keys) {
    mkdirSync(dirname(join(root, key)), { recursive: true });
    writeFileSync(join(root, `${key}.cls`), `${key}-cls`);
    writeFileSync(join(root, `${key}.seg.TXT`), `${key}-${"t".repeat(600)}`);
  }

  it("GNU tar", async () => {
    execFileSync("tar", [`--format=${dialect}`, "-cf", `${root}.tar`, "-C", root, ...names]);
    expect(await samplesOf(readFileSync(`${root}.tar`))).toEqual(expected);
  });

  it("GNU tar, gzip", async () => {
    execFileSync("tar", [`--format=${dialect}`, "-czf", `${root}.tgz`, "-C", root, ...names]);
    const bytes = readFileSync(`${root}.tgz`);
    const index = await webdataset.index(memoryReader(bytes, { path: "a.tgz" }));
    expect(contents(execFileSync("gzip", ["-dc", `${root}.tgz`]), index)).toEqual(expected);
  });

  it("Python's tarfile", async () => {
    const script = `import sys, tarfile
tar = tarfile.open(sys.argv[1], "w", format=tarfile.${dialect.toUpperCase()}_FORMAT${dialect === "pax" ? ', pax_headers={"comment": "global"}' : ""})
for name in sys.argv[3:]: tar.add(sys.argv[2] + "/" + name, arcname=name)
tar.close()`;
    execFileSync("python3", ["-c", script, `${root}-py.tar`, root, ...names]);
    expect(await samplesOf(readFileSync(`${root}-py.tar`))).toEqual(expected);
  });
});

describe("samples", () => {
  it("a record reaches from the sample before to its own padded end, extended headers inside", async () => {
    const { bytes } = tarFile([member("a.x", "1"), member("a.y", "22"), member(`${LONGER}.x`), member("b.x")], "pax");
    const index = await webdataset.index(memoryReader(bytes, { path }));
    expect(index.keys).toEqual(["a", LONGER, "b"]);
    expect([...index.begins]).toEqual([0, 2048, 4096]);
    expect([...index.ends]).toEqual([2048, 4096, 5120]);
    expect(contents(bytes, index)[1]).toEqual([LONGER, { x: `${LONGER}.x` }]);
  });

  it("passes over folders, links, notes and hidden files, also within a sample", async () => {
    const { bytes } = tarFile([
      { name: "dir/", type: "5" },
      member("__index__.json"),
      member("dir/a.x", "1"),
      { name: "dir/a.link", type: "2", link: "a.x" },
      { name: "dir/a.hard", type: "1", link: "dir/a.x" },
      member("dir/._a.x"),
      member("dir/a.y", "2"),
      member("README"),
      member("dir/b.x", "3"),
      { name: "end/", type: "5" },
    ]);
    expect(await samplesOf(bytes)).toEqual([
      ["dir/a", { x: "1", y: "2" }],
      ["dir/b", { x: "3" }],
    ]);
  });

  it("only neighbours of one key form a sample", async () => {
    const { bytes } = tarFile([member("a.x", "1"), member("b.x", "2"), member("a.y", "3")]);
    expect((await samplesOf(bytes)).map(([key]) => key)).toEqual(["a", "b", "a"]);
  });

  it("gives the wanted fields, and all of them by default as bytes", async () => {
    const { bytes } = webdatasetShard([{ key: "a", fields: { cls: Buffer.from("1"), JPG: Buffer.from("jpeg") } }]);
    expect(webdataset.defaultFields(rawRecord(bytes.subarray(0, 2048), context))).toEqual({ cls: "bytes", jpg: "bytes" });
    expect(Object.keys(webdataset.fields(rawRecord(bytes.subarray(0, 2048), context), new Set(["jpg", "absent"])))).toEqual(["jpg"]);
  });

  it.each([["a.x"], ["a.X"]])("a field that occurs twice (%s) is an error", async (twice) => {
    const { bytes } = tarFile([member("b.x"), member("a.x"), member(twice)]);
    for (const run of [
      () => webdataset.index(memoryReader(bytes, { path, onError: "skip" })),
      () => webdataset.fields(rawRecord(bytes.subarray(1024, 3072), context), undefined),
    ]) {
      const error = await failure(run);
      expect(error.code).toBe("MILLRACE_FORMAT");
      expect(error.message).toContain('sample "a" has the field "x" twice');
    }
  });

  it("an archive may be empty, or end without zero blocks", async () => {
    expect(await samplesOf(new Uint8Array(0))).toEqual([]);
    expect(await samplesOf(new Uint8Array(1024))).toEqual([]);
    const { bytes } = tarFile([member("a.x", "1")]);
    expect(await samplesOf(bytes.subarray(0, 1024))).toEqual([["a", { x: "1" }]]);
    expect(await samplesOf(bytes.subarray(0, 513))).toEqual([["a", { x: "1" }]]);
  });
});

describe("reads", () => {
  it("reads a small shard once", async () => {
    const { bytes } = tarFile(["a.x", "a.y", "b.x"].map((name) => member(name)));
    const reader = memoryReader(bytes, { path });
    await webdataset.index(reader);
    expect(reader.reads).toEqual([[0, bytes.length]]);
  });

  it("reads only headers of large members", async () => {
    const large = Buffer.alloc(5 * 2 ** 20);
    const { bytes } = tarFile(
      Array.from({ length: 8 }, (_, i) => ({ name: `${LONGER}-${i}.bin`, bytes: large })),
      "gnu",
    );
    const reader = memoryReader(bytes, { path });
    expect((await webdataset.index(reader)).keys).toHaveLength(8);
    expect(bytesRead(reader)).toBe(SCAN_SIZES.probe + 7 * SCAN_SIZES.sparse + 1024);
  });

  it("finds the same samples whatever a read brings", async () => {
    const { bytes } = tarFile(
      Array.from({ length: 60 }, (_, i) => member(`${i % 3 === 0 ? LONGER : ""}k${i >> 1}.${i % 2}`, "x".repeat(i * 37))),
      "gnu",
    );
    const whole = await webdataset.index(memoryReader(bytes, { path }));
    for (const sizes of [
      { probe: 1, dense: 512, sparse: 1, sparseAbove: 1e9 },
      { probe: 700, dense: 1000, sparse: 100, sparseAbove: 1e9 },
      { probe: 1, dense: 4096, sparse: 1, sparseAbove: 0 },
    ]) {
      const reader = memoryReader(bytes, { path });
      expect(await scanTar(reader, sizes)).toEqual(whole);
      expect(bytesRead(reader)).toBeLessThan(3 * bytes.length);
    }
  });
});

describe("damage", () => {
  const { bytes } = tarFile([member("a.x", "1"), member("b.x", "y".repeat(600)), member("b.z"), member("c.x")]);

  // The damaged member may be one more of sample 0, so that is the first sample that is not whole.
  it("names shard, record and byte", async () => {
    const broken = Uint8Array.from(bytes);
    broken[1024 + 3]! ^= 1;
    const error = await failure(() => webdataset.index(memoryReader(broken, { path })));
    expect(error.code).toBe("MILLRACE_CORRUPT");
    expect(error.message).toBe(
      "memory://bucket/train/a.tar: record 0 at byte 1024: header checksum does not match; the shard is damaged or not a tar archive",
    );
  });

  it.each([
    [1300, "in the middle of a header"],
    [2000, "b.x takes 600 bytes, more than the shard has left"],
  ])("says that a shard of %i bytes is cut short", async (end, message) => {
    const error = await failure(() => webdataset.index(memoryReader(bytes.subarray(0, end), { path })));
    expect(error.code).toBe("MILLRACE_CORRUPT");
    expect(error.message).toContain("at byte 1024");
    expect(error.message).toContain(message);
  });

  it("keeps whole samples before the damage by skip", async () => {
    const index = await webdataset.index(memoryReader(bytes.subarray(0, 2700), { path, onError: "skip" }));
    expect(index.keys).toEqual(["a"]);
    expect([...index.ends]).toEqual([1024]);
    expect(index.damage).toMatchObject({ offset: 2560 });
  });

  it("refuses samples longer than the limit", async () => {
    const error = await failure(() => webdataset.index(memoryReader(bytes, { path, maxRecordBytes: 2000 })));
    expect(error.code).toBe("MILLRACE_CORRUPT");
    expect(error.message).toContain("limits.maxRecordBytes");
  });

  it.each([
    ["a sparse member", tarFile([{ name: "a.x", type: "S" }], "gnu").bytes, "sparse"],
    ["a PAX sparse member", tarFile([member("a.x")], "pax", { "GNU.sparse.major": "1" }).bytes, "sparse"],
    ["a global path", tarFile([member("a.x")], "pax", { path: "b.x" }).bytes, "global PAX header"],
    ["a PAX size that is none", tarFile([member("a.x")], "pax", { size: "1e3" }).bytes, "out of range"],
    [
      "an extended header at the end",
      tarFile([{ name: "x", type: "x", bytes: Buffer.from("11 path=ab\n") }]).bytes,
      "ends after an extended header",
    ],
    ["a PAX header without a length", tarFile([{ name: "x", type: "x", bytes: Buffer.from("path=a\n") }]).bytes, "malformed"],
    ["a PAX header of the wrong length", tarFile([{ name: "x", type: "x", bytes: Buffer.from("99 path=a\n") }]).bytes, "malformed"],
    ["a very long name", tarFile([{ name: "x", type: "L", bytes: Buffer.alloc(2 ** 20 + 1) }]).bytes, "extended headers of 1049089 bytes"],
    [
      "extended headers without end",
      tarFile(Array.from({ length: 3000 }, () => ({ name: "x", type: "L", bytes: Buffer.from("name") }))).bytes,
      "extended headers of",
    ],
  ])("refuses %s", async (_, archive, message) => {
    const error = await failure(() => webdataset.index(memoryReader(archive, { path })));
    expect(error.code).toBe("MILLRACE_CORRUPT");
    expect(error.message).toContain(message);
  });

  it.each([
    ["not octal", [0x39], "not octal"],
    ["negative", [0xff, 0xff], "out of range"],
    ["beyond 2^53", [0x80, 0, 0, 0, 0, 0xff], "out of range"],
  ])("refuses a size that is %s", async (_, digits, message) => {
    const archive = Uint8Array.from(bytes);
    archive.set(digits, 124);
    fixChecksum(archive);
    const error = await failure(() => webdataset.index(memoryReader(archive, { path })));
    expect(error.message).toContain(message);
  });

  it("reads sizes in base 256 and from PAX headers", async () => {
    const archive = Uint8Array.from(bytes);
    archive.set([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], 124);
    fixChecksum(archive);
    expect((await samplesOf(archive))[0]).toEqual(["a", { x: "1" }]);
    const pax = tarFile([{ name: "p", type: "x", bytes: Buffer.from("10 size=2\n") }, member("a.x", "1\n")]).bytes;
    pax.set(Buffer.from("00000000777"), 1024 + 124);
    fixChecksum(pax.subarray(1024));
    expect(await samplesOf(pax)).toEqual([["a", { x: "1\n" }]]);
  });

  it.each([
    ["begins before its header", 512, 1024],
    ["is cut in its data", 1024, 2000],
    ["is cut in a header", 1024, 1400],
    ["reaches into the archive's end", 5120, 6144],
    ["holds two samples", 0, 2560],
  ])("a record that %s is corrupt", async (_, begin, end) => {
    const error = await failure(() => webdataset.fields(rawRecord(bytes.subarray(begin, end), context), undefined));
    expect(error.code).toBe("MILLRACE_CORRUPT");
    expect(error.message).toContain("train/a.tar: a sample cannot be read");
  });
});

describe("sidecar", () => {
  const shard = webdatasetShard([
    { key: "d/a", fields: { cls: Buffer.from("1"), jpg: Buffer.alloc(700) } },
    { key: "d/b", fields: { cls: Buffer.from("22"), jpg: Buffer.alloc(0) } },
  ]);

  it("gives the same index as the scan, without a read", async () => {
    const { damage: _, ...scanned } = await webdataset.index(memoryReader(shard.bytes, { path }));
    const reader = memoryReader(shard.bytes, { path, sidecars: { "train/a.idx": shard.index } });
    expect(await webdataset.index(reader)).toEqual(scanned);
    expect(reader.reads).toEqual([]);
  });

  it("reads the older form, which has no keys", async () => {
    const old = `v1.1 2\ncls 512 1 jpg 1536 700\ncls 3072 2 jpg 4096 0\n`;
    const reader = memoryReader(shard.bytes, { path, sidecars: { "train/a.tar.index": old } });
    const index = await webdataset.index(reader);
    expect(reader.reads).toEqual([]);
    expect(index.keys).toBeUndefined();
    expect([...index.ends]).toEqual([2560, 4096]);
  });

  const lines = shard.index.split("\n");
  it.each([
    ["", "first line"],
    ["v2.0 2", "first line"],
    [shard.index.replace("v1.2 2", "v1.2 3"), "announces 3 samples and has 2"],
    [`v1.2 2\n${lines[2]}\n${lines[1]}`, "line 3 is malformed"],
    [shard.index.replace("512 1", "512 x"), "line 2 is malformed"],
    [shard.index.replace(" 512 ", " 513 "), "line 2 is malformed"],
    [shard.index.replace("d/a.jpg", "d/x.jpg"), "line 2 is malformed"],
    [shard.index.replace("d/a.jpg", "d/a.j pg"), "line 2 is malformed"],
    [shard.index.replace("4096 0", "4096 9999"), "reaches past"],
  ])("%j is noted and not used", async (stale, why) => {
    const index = await webdataset.index(memoryReader(shard.bytes, { path, sidecars: { "train/a.idx": stale } }));
    expect(index.keys).toHaveLength(2);
    expect(index.note).toContain(why);
  });

  it("is not used where the shard grew since", async () => {
    const grown = webdatasetShard(Array.from({ length: 40 }, (_, i) => ({ key: `d/a${i}`, fields: { x: Buffer.alloc(9) } })));
    const [, first] = grown.index.split("\n");
    const index = await webdataset.index(memoryReader(grown.bytes, { path, sidecars: { "train/a.idx": `v1.2 1\n${first}\n` } }));
    expect(index.keys).toHaveLength(40);
    expect(index.note).toContain("bytes of the shard follow its last sample");
  });
});

it("finds gzip by content", async () => {
  const { bytes } = webdatasetShard([{ key: "a", fields: { x: Buffer.from("1") } }]);
  const index = await webdataset.index(memoryReader(gzipSync(bytes), { path: "a.tar" }));
  expect(index).toMatchObject({ keys: ["a"], inflatedSize: bytes.length });
});

function fixChecksum(header: Uint8Array): void {
  header.fill(0x20, 148, 156);
  const sum = header.subarray(0, 512).reduce((a, b) => a + b, 0);
  header.set(Buffer.from(`${sum.toString(8).padStart(6, "0")}\0 `), 148);
}

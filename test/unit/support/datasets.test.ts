import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, inflateSync } from "node:zlib";
import { afterAll, expect, test } from "vitest";
import {
  encodeExample,
  makeDataset,
  maskedCrc32c,
  sha256,
  type TarDialect,
  tarFile,
  tfrecord,
  tfrecordShard,
  webdatasetShard,
} from "../../support/datasets/index.js";

/** Python is a second opinion; not every machine has it. */
const HAS_PYTHON = spawnSync("python3", ["-c", "import tarfile"]).status === 0;
const directory = mkdtempSync(join(tmpdir(), "datasets-"));
afterAll(() => rmSync(directory, { recursive: true }));
const file = (name: string, bytes: Uint8Array): string => {
  writeFileSync(join(directory, name), bytes);
  return join(directory, name);
};
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

test("the masked crc32c is TensorFlow's", () => {
  // RFC 3720's check value of crc32c over "123456789" is e3069283.
  const crc = 0xe3069283;
  expect(maskedCrc32c(text("123456789"))).toBe((((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
  // The frame of an empty record, as TensorFlow writes it.
  expect(Buffer.from(tfrecord(new Uint8Array(0))).toString("hex")).toBe("000000000000000029039807d8ea82a2");
});

test("an Example has the bytes that protobuf gives it, packed and unpacked", () => {
  const features = { f: { floats: [1.5, -2] }, i: { ints: [1, 300, -1] }, b: { bytes: [text("xy")] } };
  expect(Buffer.from(encodeExample({ f: features.f })).toString("hex")).toBe("0a130a110a0166120c120a0a080000c03f000000c0");
  expect(Buffer.from(encodeExample({ f: features.f }, false)).toString("hex")).toBe("0a130a110a0166120c120a0d0000c03f0d000000c0");
  expect(Buffer.from(encodeExample({ i: features.i })).toString("hex")).toBe("0a180a160a016912111a0f0a0d01ac02ffffffffffffffffff01");
  expect(Buffer.from(encodeExample({ i: features.i }, false)).toString("hex")).toBe(
    "0a190a170a016912121a10080108ac0208ffffffffffffffffff01",
  );
  expect(Buffer.from(encodeExample({ b: features.b })).toString("hex")).toBe("0a0d0a0b0a016212060a040a027879");
});

test("a TFRecord index points at its records, and compression is of the whole file", () => {
  const payloads = [text("one"), text(""), text("three")];
  const { bytes, index } = tfrecordShard(payloads);
  expect(index).toBe("0 19\n19 16\n35 21\n");
  expect(bytes.length).toBe(56);
  expect(gunzipSync(tfrecordShard(payloads, "gzip").bytes)).toEqual(bytes);
  expect(inflateSync(tfrecordShard(payloads, "zlib").bytes)).toEqual(bytes);
  expect(execFileSync("gzip", ["-dc", file("x.gz", tfrecordShard(payloads, "gzip").bytes)])).toEqual(bytes);
});

const LONG = `${"long-folder-name/".repeat(7)}file.bin`;
const VERY_LONG = `${"x".repeat(180)}.bin`;
const MEMBERS = [
  { name: "folder/", type: "5" },
  { name: "folder/a.bin", bytes: text("a".repeat(700)) },
  { name: "link", type: "2", link: "folder/a.bin" },
  { name: LONG, bytes: text("l") },
  { name: "__meta__", bytes: text("{}") },
  { name: "empty", bytes: new Uint8Array(0) },
];

test.each(["ustar", "pax", "gnu"] as const)("GNU tar, and Python where it is, read our %s archives", (dialect: TarDialect) => {
  const members =
    dialect === "ustar" ? MEMBERS : [...MEMBERS, { name: VERY_LONG, bytes: text("v") }, { name: "ü/日本.txt", bytes: text("u") }];
  const { bytes, offsets } = tarFile(members, dialect, dialect === "pax" ? { comment: "made for a test" } : {});
  const path = file(`${dialect}.tar`, bytes);
  const listed = execFileSync("tar", ["--quoting-style=literal", "-tf", path], { encoding: "utf8" });
  expect(listed.trimEnd().split("\n")).toEqual(members.map(({ name }) => name));
  for (const member of members)
    if (member.bytes !== undefined) expect(execFileSync("tar", ["-xOf", path, member.name])).toEqual(Buffer.from(member.bytes));
  if (!HAS_PYTHON) return;
  const script = "import sys,tarfile,json\nprint(json.dumps([[m.name,m.size,m.offset_data] for m in tarfile.open(sys.argv[1])]))";
  const python = JSON.parse(execFileSync("python3", ["-c", script, path], { encoding: "utf8" })) as unknown;
  expect(python).toEqual(members.map(({ name, bytes: data }, i) => [name.replace(/\/$/, ""), data?.length ?? 0, offsets[i]]));
});

test("a WebDataset index points at its members' data", () => {
  const samples = [
    { key: "a/1", fields: { jpg: text("picture"), cls: text("3") } },
    { key: "a/2", fields: { jpg: text(""), "seg.png": text("mask") } },
  ];
  const { bytes, index } = webdatasetShard(samples);
  const [first, ...lines] = index.trimEnd().split("\n");
  expect(first).toBe("v1.2 2");
  expect(lines[0]).toBe("jpg 512 7 a/1.jpg cls 1536 1 a/1.cls");
  const [, , , , ext, offset, size, name] = lines[1]!.split(" ");
  expect([ext, name, Buffer.from(bytes).toString("utf8", Number(offset), Number(offset) + Number(size))]).toEqual([
    "seg.png",
    "a/2.seg.png",
    "mask",
  ]);
  expect(() => webdatasetShard([{ key: "k".repeat(120), fields: { x: text("") } }])).toThrow("ustar");
});

test("datasets repeat by seed, and state what is in them", () => {
  for (const format of ["tfrecord", "webdataset", "files"] as const) {
    const options = { format, samples: 50, shards: 3, bytesPerSample: 200, seed: 4, indexed: true };
    const [one, two, other] = [makeDataset(options), makeDataset(options), makeDataset({ ...options, seed: 5 })];
    expect([...one.objects].map(([key, bytes]) => [key, sha256(bytes)])).toEqual(
      [...two.objects].map(([key, bytes]) => [key, sha256(bytes)]),
    );
    expect(new Set(one.samples.map((sample) => sample.sha256)).size).toBe(50);
    expect(other.samples[0]!.sha256).not.toBe(one.samples[0]!.sha256);
    const mean = one.samples.reduce((sum, { bytes }) => sum + bytes, 0) / 50;
    expect(Math.abs(mean - 200)).toBeLessThan(30);
    expect(one.objects.size).toBe(format === "files" ? 50 : 6);
    const shards = [...one.objects.keys()].filter((key) => !key.endsWith(".idx"));
    expect(shards).toEqual([...shards].sort());
  }
});

test("a compressed shard unpacks to the samples it states", () => {
  const made = makeDataset({ format: "webdataset", samples: 6, shards: 1, gzip: true });
  const path = file("shard.tar.gz", made.objects.get("shard-00000.tar.gz")!);
  const names = execFileSync("tar", ["-tzf", path], { encoding: "utf8" }).trimEnd().split("\n");
  expect(names).toHaveLength(12);
  execFileSync("tar", ["-xzf", path, "-C", directory]);
  const payload = readFileSync(join(directory, `${made.samples[3]!.key}.bin`));
  expect(sha256(payload)).toBe(made.samples[3]!.sha256);
  expect(made.byteLength).toBe(made.objects.get("shard-00000.tar.gz")!.length);
});

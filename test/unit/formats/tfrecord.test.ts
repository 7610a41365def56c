import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { SCAN_SIZES } from "../../../src/formats/scan-window.js";
import { scanTfrecord, tfrecord } from "../../../src/formats/tfrecord.js";
import { encodeExample, tfrecordShard } from "../../support/datasets/index.js";
import { rawRecord } from "../../support/raw-record.js";
import { bytesRead, failure, memoryReader, text } from "./memory-reader.js";

const context = { shardPath: "train/a.tfrecord", classes: undefined };
const payloads = [10, 0, 700, 33].map((length, i) => Buffer.alloc(length, i + 1));

function record(payload: Uint8Array): Uint8Array {
  return tfrecordShard([payload]).bytes;
}

describe("names", () => {
  it.each([
    "a.tfrecord",
    "a.TFRecords",
    "x/a.tfrec",
    "train-00001-of-00042",
    "a.tfrecord-00000-of-00010",
    "a.tfrecord.gz",
    "t-00001-of-00042.gz",
  ])("%s is a TFRecord shard", (path) => expect(tfrecord.matches(path)).toBe(true));
  it.each(["a.tar", "a.jpg", "a.tfrecord.idx", "atfrecord", "1-of-2"])("%s is none", (path) => expect(tfrecord.matches(path)).toBe(false));
  it("knows compressed shards by name", () => {
    expect(tfrecord.compressed("a.tfrecord.gz")).toBe(true);
    expect(tfrecord.compressed("a.tfrecord")).toBe(false);
  });
});

describe("index", () => {
  it("finds every record by one read of a small shard", async () => {
    const { bytes } = tfrecordShard(payloads);
    const reader = memoryReader(bytes);
    const index = await tfrecord.index(reader);
    expect([...index.begins]).toEqual([0, 26, 42, 758]);
    expect([...index.ends]).toEqual([26, 42, 758, 807]);
    expect(index.damage).toBeUndefined();
    expect(index.inflatedSize).toBeUndefined();
    expect(reader.reads).toEqual([[0, bytes.length]]);
  });

  it("gives an empty shard no records and reads nothing", async () => {
    const reader = memoryReader(new Uint8Array(0));
    expect((await tfrecord.index(reader)).begins).toHaveLength(0);
    expect(reader.reads).toEqual([]);
  });

  it("reads small records in runs that end at whole reads", async () => {
    const { bytes } = tfrecordShard(Array.from({ length: 900 }, (_, i) => Buffer.alloc(i % 50)));
    const reader = memoryReader(bytes);
    const index = await scanTfrecord(reader, { probe: 1000, dense: 4096, sparse: 100, sparseAbove: 1e6 });
    expect(index.begins).toHaveLength(900);
    expect(reader.reads[0]).toEqual([0, 1000]);
    for (const [, end] of reader.reads.slice(1, -1)) expect(end % 4096).toBe(0);
    // A header that a read cuts is read again: never more than its 12 bytes.
    expect(bytesRead(reader)).toBeLessThanOrEqual(bytes.length + 12 * reader.reads.length);
  });

  it("reads only headers of large records", async () => {
    const large = Buffer.alloc(3 * 2 ** 20);
    const { bytes } = tfrecordShard(Array.from({ length: 12 }, () => large));
    const reader = memoryReader(bytes);
    expect((await tfrecord.index(reader)).begins).toHaveLength(12);
    expect(reader.reads).toHaveLength(12);
    expect(bytesRead(reader)).toBe(SCAN_SIZES.probe + 11 * SCAN_SIZES.sparse);
  });

  it.each(["gzip", "zlib"] as const)("inflates a %s shard, whatever its name", async (compression) => {
    const { bytes } = tfrecordShard(payloads, compression);
    for (const path of ["a.tfrecord.gz", "a.tfrecord"]) {
      const index = await tfrecord.index(memoryReader(bytes, { path }));
      expect([...index.ends]).toEqual([26, 42, 758, 807]);
      expect(index.inflatedSize).toBe(807);
    }
  });

  it("reads gzip of several members, and a plain shard that is called .gz", async () => {
    const first = tfrecordShard(payloads, "gzip").bytes;
    const index = await tfrecord.index(memoryReader(Buffer.concat([first, first]), { path: "a.tfrecord.gz" }));
    expect(index.begins).toHaveLength(8);
    expect(index.inflatedSize).toBe(1614);
    const plain = await tfrecord.index(memoryReader(tfrecordShard(payloads).bytes, { path: "a.tfrecord.gz" }));
    expect(plain.begins).toHaveLength(4);
    expect(plain.inflatedSize).toBeUndefined();
  });

  it("takes a length that looks like zlib for a length", async () => {
    // 0x0178 = 376: the bytes 78 01 begin zlib data too.
    const index = await tfrecord.index(memoryReader(record(Buffer.alloc(376))));
    expect([...index.ends]).toEqual([392]);
    expect(index.inflatedSize).toBeUndefined();
  });

  it("reads a shard that Python wrote with a checksum of its own", async () => {
    const script = `
import struct, sys
def crc(b):
    c = 0xffffffff
    for x in b:
        c ^= x
        for _ in range(8): c = (c >> 1) ^ (0x82f63b78 if c & 1 else 0)
    return c ^ 0xffffffff
def mask(c): return (((c >> 15) | (c << 17 & 0xffffffff)) + 0xa282ead8) & 0xffffffff
for data in (b"hello", b"", b"123456789"):
    n = struct.pack("<Q", len(data))
    sys.stdout.buffer.write(n + struct.pack("<I", mask(crc(n))) + data + struct.pack("<I", mask(crc(data))))
`;
    const bytes = execFileSync("python3", ["-c", script]);
    const index = await tfrecord.index(memoryReader(bytes));
    const records = [...index.begins].map(
      (begin, i) => tfrecord.fields(rawRecord(bytes.subarray(begin, index.ends[i]), context), new Set(["record"])).record,
    );
    expect(records.map(text)).toEqual(["hello", "", "123456789"]);
  });
});

describe("damage", () => {
  const { bytes } = tfrecordShard(payloads);

  it("names shard, record and byte of a bad length checksum", async () => {
    const broken = Uint8Array.from(bytes);
    broken[42]! ^= 1;
    const error = await failure(() => tfrecord.index(memoryReader(broken)));
    expect(error).toMatchObject({ name: "MillraceError", code: "MILLRACE_CORRUPT", uri: "memory://bucket/train/a.tfrecord" });
    expect(error.message).toBe(
      "memory://bucket/train/a.tfrecord: record 2 at byte 42: length checksum does not match; the shard is damaged or not a TFRecord file",
    );
  });

  it.each([
    [47, "the shard ends after 5 bytes"],
    [60, "it takes 716 bytes, but the shard ends after 18"],
    [757, "the shard ends after 715"],
  ])("a shard cut at byte %i is cut short", async (end, message) => {
    const error = await failure(() => tfrecord.index(memoryReader(bytes.subarray(0, end))));
    expect(error.code).toBe("MILLRACE_CORRUPT");
    expect(error.message).toContain("record 2 at byte 42");
    expect(error.message).toContain(message);
  });

  it("keeps what is before the damage by skip", async () => {
    const index = await tfrecord.index(memoryReader(bytes.subarray(0, 100), { onError: "skip" }));
    expect([...index.ends]).toEqual([26, 42]);
    expect(index.damage).toMatchObject({ offset: 42 });
    expect(index.damage!.message).toContain("record 2 at byte 42");
  });

  it("refuses records longer than the limit", async () => {
    const error = await failure(() => tfrecord.index(memoryReader(bytes, { maxRecordBytes: 699 })));
    expect(error.code).toBe("MILLRACE_CORRUPT");
    expect(error.message).toContain("limits.maxRecordBytes");
  });

  it("stops when aborted", async () => {
    const error = await failure(() => tfrecord.index(memoryReader(bytes, { signal: AbortSignal.abort() })));
    expect(error.code).toBe("MILLRACE_ABORTED");
  });

  it("says that gzip data is cut short", async () => {
    const zipped = tfrecordShard(payloads, "gzip").bytes;
    const error = await failure(() => tfrecord.index(memoryReader(zipped.subarray(0, -9))));
    expect(error.code).toBe("MILLRACE_CORRUPT");
    expect(error.message).toContain("damaged or cut short");
  });

  it("inflates once only: gzip within gzip is not a TFRecord", async () => {
    const { gzipSync } = await import("node:zlib");
    const error = await failure(() => tfrecord.index(memoryReader(gzipSync(tfrecordShard(payloads, "gzip").bytes))));
    expect(error.message).toContain("record 0 at byte 0");
  });
});

describe("sidecar", () => {
  const { bytes, index: sidecar } = tfrecordShard(payloads);

  it.each(["train/a.tfrecord.idx", "train/a.tfrecord.index", "train/a.idx", "train/a.index"])("%s replaces the scan", async (name) => {
    const reader = memoryReader(bytes, { sidecars: { [name]: sidecar } });
    expect([...(await tfrecord.index(reader)).ends]).toEqual([26, 42, 758, 807]);
    expect(reader.reads).toEqual([]);
  });

  it.each([
    ["", "records end at byte 0, the shard at 807"],
    ["0 26\n26 16\n", "records end at byte 42, the shard at 807"],
    ["0 26\n26 16\n42 716\n758 50\n", "records end at byte 808"],
    ["0 26\n30 777\n", "line 2 does not begin where"],
    ["0 26\n26 -16\n", 'line 2 is not "offset size"'],
    ["0 26 3\n", 'line 1 is not "offset size"'],
    ["0 0\n0 807\n", "line 1 does not begin"],
    ["garbage", 'line 1 is not "offset size"'],
  ])("%j is noted and not used", async (stale, why) => {
    const reader = memoryReader(bytes, { sidecars: { "train/a.idx": stale } });
    const index = await tfrecord.index(reader);
    expect([...index.ends]).toEqual([26, 42, 758, 807]);
    expect(index.note).toContain("train/a.idx: ");
    expect(index.note).toContain(why);
  });

  it("is not asked for records over the limit", async () => {
    const error = await failure(() => tfrecord.index(memoryReader(bytes, { maxRecordBytes: 600, sidecars: { "train/a.idx": sidecar } })));
    expect(error.code).toBe("MILLRACE_CORRUPT");
  });

  it("goes on to the next one where the first is stale", async () => {
    const reader = memoryReader(bytes, { sidecars: { "train/a.tfrecord.idx": "0 1\n", "train/a.idx": sidecar } });
    expect((await tfrecord.index(reader)).note).toBeUndefined();
    expect(reader.reads).toEqual([]);
  });
});

describe("fields", () => {
  const example = record(encodeExample({ image: { bytes: [Buffer.from("png")] }, label: { ints: [7] }, box: { floats: [0.5, 2] } }));

  it("gives an Example's features", () => {
    const sample = tfrecord.fields(rawRecord(example, context), undefined);
    expect(Object.keys(sample)).toEqual(["image", "label", "box"]);
    expect(text(sample.image)).toBe("png");
    expect(sample.label).toEqual(BigInt64Array.of(7n));
    expect(sample.box).toEqual(Float32Array.of(0.5, 2));
  });

  it("gives the wanted ones, and the record beside them", () => {
    expect(Object.keys(tfrecord.fields(rawRecord(example, context), new Set(["label", "absent"])))).toEqual(["label"]);
    const both = tfrecord.fields(rawRecord(example, context), new Set(["label", "record"]));
    expect(both.record).toEqual(Uint8Array.from(example.subarray(12, -4)));
    expect(both.label).toEqual(BigInt64Array.of(7n));
  });

  it("gives the bytes of what is no Example", () => {
    for (const payload of ["hello world", ""]) {
      const sample = tfrecord.fields(rawRecord(record(Buffer.from(payload)), context), undefined);
      expect(Object.keys(sample)).toEqual(["record"]);
      expect(text(sample.record)).toBe(payload);
    }
  });

  it("says so where features of no Example are wanted", async () => {
    const error = await failure(() => tfrecord.fields(rawRecord(record(Buffer.from("hello world")), context), new Set(["image"])));
    expect(error.code).toBe("MILLRACE_FORMAT");
    expect(error.message).toContain("train/a.tfrecord: a record is no tf.train.Example");
    expect(error.message).toContain('{ record: "bytes" }');
  });

  it("refuses a changed byte anywhere in the data or its checksum", async () => {
    for (let i = 12; i < example.length; i++) {
      const broken = Uint8Array.from(example);
      broken[i]! ^= 0x10;
      const error = await failure(() => tfrecord.fields(rawRecord(broken, context), new Set(["record"])));
      expect(error.code).toBe("MILLRACE_CORRUPT");
    }
  });

  it("refuses bounds that are not a record's", async () => {
    for (const bytes of [example.subarray(1), example.subarray(0, -1), example.subarray(0, 3)]) {
      const error = await failure(() => tfrecord.fields(rawRecord(bytes, context), undefined));
      expect(error).toMatchObject({ code: "MILLRACE_CORRUPT" });
      expect(error.message).toContain("no record has these bounds");
    }
  });

  it("declares each list by its kind", () => {
    expect(tfrecord.defaultFields(rawRecord(example, context))).toEqual({
      image: "bytes",
      label: { dtype: "int64", shape: [null] },
      box: { dtype: "float32", shape: [null] },
    });
    for (const payload of ["", "hello world"])
      expect(tfrecord.defaultFields(rawRecord(record(Buffer.from(payload)), context))).toEqual({ record: "bytes" });
  });

  it("does not hide a damaged first record", async () => {
    expect((await failure(() => tfrecord.defaultFields(rawRecord(example.subarray(1), context)))).code).toBe("MILLRACE_CORRUPT");
  });
});

/** Whatever the bytes, a reader returns or throws a MillraceError, and ends; whatever a read brings, the index is the same. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MillraceError } from "../../../src/errors.js";
import type { RecordFormat, RecordIndex } from "../../../src/formats/format.js";
import { decodeIndex, encodeIndex } from "../../../src/formats/index-codec.js";
import { formatByName } from "../../../src/formats/infer.js";
import { Manifest } from "../../../src/formats/manifest.js";
import { scanTfrecord, tfrecord } from "../../../src/formats/tfrecord.js";
import { scanTar, webdataset } from "../../../src/formats/webdataset.js";
import { encodeExample, type Features, maskedCrc32c, tarFile, tfrecordShard } from "../../support/datasets/index.js";
import { rawRecord } from "../../support/raw-record.js";
import { bytesRead, memoryReader } from "../../unit/formats/memory-reader.js";

const payloads = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 20 });
const features: fc.Arbitrary<Features> = fc.dictionary(
  fc.string({ unit: "grapheme", maxLength: 8 }).filter((name) => name !== "__proto__"),
  fc.oneof(
    fc.record({ bytes: fc.array(fc.uint8Array({ maxLength: 20 }), { maxLength: 4 }) }),
    fc.record({ floats: fc.array(fc.float({ noNaN: true }), { maxLength: 6 }) }),
    fc.record({ ints: fc.array(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), { maxLength: 6 }) }),
  ),
  { maxKeys: 6, noNullPrototype: true },
);
const segment = fc.stringMatching(/^[a-z0-9é]{1,60}$/);
const members = fc.uniqueArray(
  fc.record({
    name: fc
      .tuple(fc.array(segment, { maxLength: 4 }), segment, fc.constantFrom("x", "y.Z", "json"))
      .map(([dirs, base, ext]) => `${[...dirs, base].join("/")}.${ext}`),
    bytes: fc.uint8Array({ maxLength: 1500 }),
  }),
  { maxLength: 12, selector: ({ name }) => name.toLowerCase() },
);
const sizes = fc.record({
  probe: fc.integer({ min: 1, max: 3000 }),
  dense: fc.integer({ min: 1, max: 5000 }),
  sparse: fc.integer({ min: 1, max: 2000 }),
  sparseAbove: fc.oneof(fc.constant(0), fc.constant(1e9), fc.integer({ min: 1, max: 500 })),
});
/** Changes to bytes: set some, cut the end, repeat a piece. */
const damage = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant("set" as const), at: fc.nat(), value: fc.nat(255) }),
    fc.record({ kind: fc.constant("cut" as const), at: fc.nat(), value: fc.constant(0) }),
    fc.record({ kind: fc.constant("repeat" as const), at: fc.nat(), value: fc.nat(600) }),
  ),
  { minLength: 1, maxLength: 6 },
);

function apply(bytes: Uint8Array, changes: readonly { kind: "set" | "cut" | "repeat"; at: number; value: number }[]): Uint8Array {
  let out = Uint8Array.from(bytes);
  for (const { kind, at, value } of changes) {
    const place = at % (out.length + 1);
    if (kind === "cut") out = out.slice(0, place);
    else if (kind === "repeat") out = Uint8Array.from(Buffer.concat([out.subarray(0, place + value), out.subarray(place)]));
    else if (place < out.length) out[place] = value;
  }
  return out;
}

/** Makes the checksum of each 512-byte block right where it looks like a tar header, so that damage gets past it. */
function mendTar(bytes: Uint8Array): Uint8Array {
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    const block = bytes.subarray(at, at + 512);
    if (Buffer.from(block.subarray(257, 262)).toString() !== "ustar") continue;
    block.fill(0x20, 148, 156);
    block.set(
      Buffer.from(
        `${block
          .reduce((a, b) => a + b, 0)
          .toString(8)
          .padStart(6, "0")}\0 `,
      ),
      148,
    );
  }
  return bytes;
}

/** Indexes the bytes and reads every record; only a MillraceError may come of it. */
async function consume(format: RecordFormat, bytes: Uint8Array, onError: "throw" | "skip"): Promise<void> {
  const path = format.name === "tfrecord" ? "a.tfrecord" : "a.tar";
  const context = { shardPath: path, classes: ["a"] };
  const reader = memoryReader(bytes, { path, onError, maxRecordBytes: 1e6 });
  const index = await allowed(() => format.index(reader));
  expect(reader.reads.length).toBeLessThan(100);
  if (index === undefined) return;
  let end = 0;
  for (let i = 0; i < index.begins.length; i++) {
    expect(index.begins[i]).toBe(end);
    end = index.ends[i]!;
    expect(end).toBeGreaterThan(index.begins[i]!);
    if (index.inflatedSize !== undefined) continue;
    const record = bytes.subarray(index.begins[i], end);
    await allowed(() => format.fields(rawRecord(record, context), undefined));
    await allowed(() => format.fields(rawRecord(record, context), new Set(["a", "x", "record"])));
    await allowed(() => format.defaultFields(rawRecord(record, context)));
  }
  expect(end).toBeLessThanOrEqual(index.inflatedSize ?? bytes.length);
}

async function allowed<T>(run: () => T | Promise<T>): Promise<T | undefined> {
  try {
    return await run();
  } catch (error) {
    if (!(error instanceof MillraceError)) throw error;
    expect(["MILLRACE_CORRUPT", "MILLRACE_FORMAT"]).toContain(error.code);
    return undefined;
  }
}

describe("TFRecord", () => {
  it("gives back what was written, however it is read", async () => {
    await fc.assert(
      fc.asyncProperty(payloads, sizes, async (written, scan) => {
        const { bytes } = tfrecordShard(written);
        const reader = memoryReader(bytes);
        const index = await scanTfrecord(reader, scan);
        const context = { shardPath: "a", classes: undefined };
        const read = [...index.begins].map(
          (begin, i) => tfrecord.fields(rawRecord(bytes.subarray(begin, index.ends[i]), context), new Set(["record"])).record,
        );
        expect(read.map((value) => [...(value as Uint8Array)])).toEqual(written.map((value) => [...value]));
        expect(bytesRead(reader)).toBeLessThanOrEqual(bytes.length * 3 + 3000 + written.length * 5000);
      }),
      { numRuns: 150 },
    );
  });

  it("decodes the features that were encoded, packed or not", () => {
    fc.assert(
      fc.property(features, fc.boolean(), (written, packed) => {
        const record = tfrecordShard([encodeExample(written, packed)]).bytes;
        const read = tfrecord.fields(rawRecord(record, { shardPath: "a", classes: undefined }), new Set(Object.keys(written)));
        for (const [name, feature] of Object.entries(written)) {
          const value = read[name];
          if ("ints" in feature) expect(value).toEqual(BigInt64Array.from(feature.ints.map(BigInt)));
          else if ("floats" in feature) expect(value).toEqual(Float32Array.from(feature.floats));
          else {
            const list = value instanceof Uint8Array ? [value] : (value as Uint8Array[]);
            expect(list.map((item) => [...item])).toEqual(feature.bytes.map((item) => [...item]));
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  it("survives any bytes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.constantFrom("throw" as const, "skip" as const), (bytes, onError) =>
        consume(tfrecord, bytes, onError),
      ),
      { numRuns: 200 },
    );
  });

  it("survives damage", async () => {
    await fc.assert(
      fc.asyncProperty(
        payloads,
        damage,
        fc.constantFrom("none" as const, "gzip" as const, "zlib" as const),
        async (written, changes, compression) => {
          await consume(tfrecord, apply(tfrecordShard(written, compression).bytes, changes), "skip");
        },
      ),
      { numRuns: 300 },
    );
  });

  it("survives damaged Examples whose checksums are right", async () => {
    await fc.assert(
      fc.asyncProperty(features, damage, fc.boolean(), async (written, changes, packed) => {
        await consume(tfrecord, tfrecordShard([apply(encodeExample(written, packed), changes)]).bytes, "throw");
      }),
      { numRuns: 500 },
    );
  });

  it("survives absurd lengths whose checksums are right", async () => {
    await fc.assert(
      fc.asyncProperty(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.uint8Array({ maxLength: 40 }), async (length, rest) => {
        const header = Buffer.alloc(12);
        header.writeBigUInt64LE(length);
        header.writeUInt32LE(maskedCrc32c(header.subarray(0, 8)), 8);
        await consume(tfrecord, Buffer.concat([header, rest]), "throw");
      }),
      { numRuns: 100 },
    );
  });
});

describe("WebDataset", () => {
  it("finds the same index however it is read", async () => {
    await fc.assert(
      fc.asyncProperty(members, fc.constantFrom("pax" as const, "gnu" as const), sizes, async (written, dialect, scan) => {
        const { bytes } = tarFile(written, dialect);
        const whole = await webdataset.index(memoryReader(bytes, { path: "a.tar" }));
        expect(await scanTar(memoryReader(bytes, { path: "a.tar" }), scan)).toEqual(whole);
        const read = [...whole.begins].flatMap((begin, i) =>
          Object.entries(
            webdataset.fields(rawRecord(bytes.subarray(begin, whole.ends[i]), { shardPath: "a", classes: undefined }), undefined),
          ).map(([name, value]) => [`${whole.keys![i]}.${name}`, [...(value as Uint8Array)]]),
        );
        expect(read).toEqual(written.map(({ name, bytes: content }) => [name.replace("y.Z", "y.z"), [...content]]));
      }),
      { numRuns: 150 },
    );
  });

  it("survives any bytes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 400, maxLength: 2000 }), (bytes) => consume(webdataset, bytes, "throw")),
      { numRuns: 100 },
    );
  });

  it("survives damage, with right checksums and wrong", async () => {
    await fc.assert(
      fc.asyncProperty(
        members,
        fc.constantFrom("pax" as const, "gnu" as const),
        damage,
        fc.boolean(),
        fc.constantFrom("throw" as const, "skip" as const),
        async (written, dialect, changes, mend, onError) => {
          const damaged = apply(tarFile(written, dialect).bytes, changes);
          await consume(webdataset, mend ? mendTar(damaged) : damaged, onError);
        },
      ),
      { numRuns: 400 },
    );
  });
});

describe("sidecars", () => {
  it.each(["tfrecord", "webdataset"])("any text beside a %s shard gives the scan's index or a sound one", async (name) => {
    const format = formatByName(name);
    const path = name === "tfrecord" ? "a.tfrecord" : "a.tar";
    const bytes =
      name === "tfrecord"
        ? tfrecordShard([Buffer.alloc(9), Buffer.alloc(99)]).bytes
        : tarFile([{ name: "a.x", bytes: Buffer.alloc(600) }, { name: "b.x" }]).bytes;
    const word = fc.constantFrom(
      "0",
      "25",
      "115",
      "512",
      "600",
      "2048",
      "v1.2 2\n",
      "v1.1 1\n",
      "a.x",
      "b.x",
      "x",
      "\n",
      "-1",
      "1e9",
      "9007199254740993",
    );
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string(),
          fc.array(word, { maxLength: 12 }).map((words) => words.join(" ")),
        ),
        async (text) => {
          const index = await format.index(memoryReader(bytes, { path, sidecars: { "a.idx": text } }));
          for (let i = 0; i < index.begins.length; i++) {
            expect(index.begins[i]).toBe(i === 0 ? 0 : index.ends[i - 1]);
            expect(index.ends[i]!).toBeLessThanOrEqual(bytes.length);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe("indexes", () => {
  const index: fc.Arbitrary<RecordIndex> = fc
    .tuple(
      fc.array(
        fc.tuple(
          fc.oneof(fc.constant(0), fc.nat(2 ** 30)),
          fc.oneof(fc.nat(5000), fc.integer({ min: 2 ** 31, max: 2 ** 34 })),
          fc.string({ unit: "grapheme" }),
        ),
        { maxLength: 12 },
      ),
      fc.boolean(),
      fc.option(fc.nat()),
    )
    .map(([rows, keyed, inflated]) => {
      let position = 0;
      const begins: number[] = [];
      const ends = rows.map(([gap, size]) => {
        begins.push(position + gap);
        position += gap + size;
        return position;
      });
      return {
        begins: Float64Array.from(begins),
        ends: Float64Array.from(ends),
        ...(keyed && { keys: rows.map(([, , key]) => key) }),
        ...(inflated !== null && { inflatedSize: position + inflated }),
      };
    });

  it("come back from bytes", () => {
    fc.assert(
      fc.property(index, (written) => {
        expect(decodeIndex(encodeIndex(written))).toEqual(written);
      }),
    );
  });

  it("any bytes are an index or none", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(decodeIndex(bytes)).toBeUndefined();
      }),
    );
  });

  it("a manifest says of every sample what its shard's index says", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(index, fc.constant(undefined)), { maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 20 }),
        (indexes, picks) => {
          const shards = indexes.map((own, i) => ({
            stored: { path: `s${i}`, size: 2 ** 35 + i, etag: `${i}`, lastModified: undefined },
            index: own,
          }));
          const manifest = Manifest.build({ format: "x", root: "s3://b", shards });
          const rows = indexes.flatMap((own, shard) =>
            own === undefined
              ? [[shard, 0, 2 ** 35 + shard, `s${shard}`]]
              : Array.from(own.begins, (begin, k) => [shard, begin, own.ends[k]!, own.keys?.[k] || `s${shard}#${k}`]),
          );
          const row = (i: number) => [manifest.shardOf(i), manifest.recordBegin(i), manifest.recordEnd(i), manifest.key(i)];
          expect(manifest.sampleCount).toBe(rows.length);
          expect(Array.from({ length: rows.length }, (_, i) => row(i))).toEqual(rows);
          if (rows.length > 0) for (const pick of picks) expect(row(pick % rows.length)).toEqual(rows[pick % rows.length]);
          expect(manifest.byteLength).toBe(rows.reduce((sum, [, begin, end]) => sum + (end as number) - (begin as number), 0));
        },
      ),
    );
  });
});

import EventEmitter from "node:events";
import { describe, expect, test } from "vitest";
import type { Fields, SampleContext } from "../../../src/api.js";
import { MillraceError } from "../../../src/errors.js";
import type { RecordFormat } from "../../../src/formats/format.js";
import { tfrecord } from "../../../src/formats/tfrecord.js";
import { Assembler, type AssembleSpec, type BatchInput, batchBuffers } from "../../../src/loader/assemble.js";
import { sampleRandom } from "../../../src/order/random.js";
import { encodeExample, tfrecord as tfrecordRecord } from "../../support/datasets/index.js";
import { batchRows } from "../../support/raw-record.js";

/** Records are JSON; `!` is a record that is damaged, `?` one that the reader stumbles over. */
const format = {
  name: "json",
  fields({ bytes, begin, end, shardPath, classes = [] }, wanted) {
    const text = new TextDecoder().decode(bytes.slice(begin, end));
    if (text === "!") throw new MillraceError("MILLRACE_CORRUPT", "the checksum does not match", { range: { begin: 3, end: 9 } });
    if (text === "?") throw new TypeError("cannot read x of undefined");
    const all = { ...JSON.parse(text), path: shardPath, classes: classes.join() };
    return Object.fromEntries(Object.entries(all).filter(([name]) => wanted?.has(name) ?? true)) as ReturnType<RecordFormat["fields"]>;
  },
} as RecordFormat;

function spec(fields: Fields, options: Partial<AssembleSpec> = {}): AssembleSpec {
  return { format, fields, classes: undefined, root: "memory://m", onError: "throw", decode: undefined, recycle: false, ...options };
}
type Run = (sample: never, context: SampleContext<never>) => unknown;
function decoding(
  output: Fields,
  run: Run,
  options: { args?: unknown; timeoutMs?: number; keepsNothing?: boolean } = {},
): Pick<AssembleSpec, "decode"> {
  const { args, timeoutMs = 10_000, keepsNothing = false } = options;
  return { decode: { decoder: { output, run: run as never, keepsNothing }, args, seed: 5, timeoutMs } };
}
function input(records: readonly unknown[], options: Partial<BatchInput> = {}): BatchInput {
  const rows = records.map((record, row) => ({
    bytes: new TextEncoder().encode(typeof record === "string" ? record : JSON.stringify(record)),
    key: `k${row}`,
    index: 10 + row,
    shardPath: `s${row % 2}.json`,
  }));
  return { rows: batchRows(rows), padding: 0, epoch: 1, ...options };
}
const failure = (promise: Promise<unknown>): Promise<MillraceError> =>
  promise.then(
    () => expect.unreachable("it did not fail"),
    (error) => error,
  );

describe("without a decoder", () => {
  test("records become columns, only what is declared, the context of each row's shard", async () => {
    const made = await new Assembler(spec({ a: "int32", path: "utf8", classes: "utf8" }, { classes: ["x", "y"] })).assemble(
      input([{ a: 1, b: 2 }, { a: 3 }, { a: 5 }], { padding: 1 }),
    );
    expect(made).toEqual({
      size: 2,
      padding: 1,
      indices: Float64Array.of(10, 11, 12),
      columns: {
        a: { kind: "tensor", dtype: "int32", shape: [3], data: Int32Array.of(1, 3, 5) },
        path: { kind: "values", values: ["s0.json", "s1.json", "s0.json"] },
        classes: { kind: "values", values: ["x,y", "x,y", "x,y"] },
      },
      byteLength: 12,
      skipped: [],
    });
    expect(batchBuffers(made).map((buffer) => buffer.byteLength)).toEqual([24, 12]);
  });

  test("a missing field names the sample, the shard, the field and those there are", async () => {
    const error = await failure(new Assembler(spec({ a: "int32", b: "int32" })).assemble(input([{ a: 1, b: 2 }, { a: 3 }])));
    expect(error).toMatchObject({ code: "MILLRACE_FORMAT", uri: "memory://m/s1.json", sample: { key: "k1", index: 11 } });
    expect(error.message).toBe(
      'memory://m/s1.json: sample "k1" (number 11): field "b" is missing; there are: a. Declare it as optional if that is right',
    );
  });

  test("damage keeps its code and range", async () => {
    const error = await failure(new Assembler(spec({ a: "int32" })).assemble(input([{ a: 1 }, "!"])));
    expect(error).toMatchObject({ code: "MILLRACE_CORRUPT", range: { begin: 3, end: 9 }, sample: { key: "k1", index: 11 } });
    const stumble = await failure(new Assembler(spec({ a: "int32" })).assemble(input(["?"])));
    expect(stumble).toMatchObject({ code: "MILLRACE_FORMAT", cause: expect.any(TypeError) });
  });

  test("skipping leaves no part of a row, and counts real rows only", async () => {
    const records = [{ a: 1, b: 1 }, { a: 2 }, "!", { a: 4, b: 4 }, { a: 5, b: 1.5 }, "!", { a: 7, b: 7 }];
    const made = await new Assembler(spec({ a: "int32", b: "int32" }, { onError: "skip" })).assemble(
      input(records, { padding: 3, without: new Set([6]) }),
    );
    expect(made).toMatchObject({ size: 2, padding: 0, indices: Float64Array.of(10, 13) });
    expect(made.columns.a).toMatchObject({ shape: [2], data: Int32Array.of(1, 4) });
    expect(made.columns.b).toMatchObject({ shape: [2], data: Int32Array.of(1, 4) });
    expect(made.skipped.map(({ key, index, code }) => [key, index, code])).toEqual([
      ["k1", 11, "MILLRACE_FORMAT"],
      ["k2", 12, "MILLRACE_CORRUPT"],
    ]);
  });

  test("a batch of which nothing is left is empty", async () => {
    const made = await new Assembler(spec({ a: "int32", b: "bytes" }, { onError: "skip" })).assemble(input(["!", "!"]));
    expect(made).toMatchObject({ size: 0, padding: 0, columns: { a: { shape: [0] }, b: { offsets: Float64Array.of(0) } } });
  });

  test("memory given back is used again", async () => {
    const assembler = new Assembler(spec({ a: { dtype: "float32", shape: [2] } }, { recycle: true }));
    const first = await assembler.assemble(input([{ a: [1, 2] }, { a: [3, 4] }]));
    const [, memory] = batchBuffers(first);
    assembler.memory.give([memory!]);
    const second = await assembler.assemble(input([{ a: [5, 6] }, { a: [7, 8] }]));
    expect(batchBuffers(second)[1]).toBe(memory);
    expect(second.columns.a).toMatchObject({ data: Float32Array.of(5, 6, 7, 8) });
  });

  test("what was read of one sample is not taken for the next one's", async () => {
    const examples = [
      { label: { ints: [1, 2] }, scores: { floats: [0.5] } },
      { scores: { floats: [1.5, 2.5, 3.5] } },
      { label: { ints: [3] }, scores: { floats: [4.5, 5.5, 6.5] } },
    ];
    const rows = batchRows(
      examples.map((example, index) => ({
        bytes: tfrecordRecord(encodeExample(example)),
        key: `k${index}`,
        index,
        shardPath: "a.tfrecord",
      })),
    );
    const fields: Fields = { label: { dtype: "int64", shape: [null], optional: true }, scores: { dtype: "float32", shape: [null] } };
    const made = await new Assembler(spec(fields, { format: tfrecord })).assemble({ rows, padding: 0, epoch: 0 });
    expect(made.columns).toMatchObject({
      label: { values: BigInt64Array.of(1n, 2n, 3n), offsets: Float64Array.of(0, 2, 2, 3) },
      scores: { values: Float32Array.of(0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5), offsets: Float64Array.of(0, 1, 4, 7) },
    });
    const strict = new Assembler(spec({ ...fields, label: { dtype: "int64", shape: [null] } }, { format: tfrecord }));
    expect(await failure(strict.assemble({ rows, padding: 0, epoch: 0 }))).toMatchObject({
      sample: { key: "k1" },
      message: expect.stringContaining('field "label" is missing; there are: scores.'),
    });
  });

  test.each<[string, Fields, number]>([
    ["of one size", { image: { dtype: "uint8", shape: [64] } }, 0],
    ["of bytes, which differ from batch to batch", { text: "bytes" }, 2],
  ])("with recycle, columns %s need no new memory after a few batches", async (_, fields, most) => {
    const assembler = new Assembler(spec(fields, { recycle: true }));
    const seen = new Set<ArrayBuffer>();
    const onTheirWay: ArrayBuffer[][] = [];
    let settled = 0;
    for (let step = 0; step < 200; step++) {
      if (step === 20) settled = seen.size;
      const records = Array.from({ length: 8 }, (_, row) => ({
        image: new Array(64).fill(step),
        text: "x".repeat(1000 + ((step * 37 + row * 101) % 400)),
      }));
      const [, ...buffers] = batchBuffers(await assembler.assemble(input(records)));
      seen.add(buffers[0]!);
      onTheirWay.push([buffers[0]!]);
      // As a loop that holds two batches while a third is made.
      if (onTheirWay.length > 2) assembler.memory.give(onTheirWay.shift()!);
    }
    expect(seen.size - settled).toBeLessThanOrEqual(most);
    expect(seen.size).toBeLessThanOrEqual(3 + 3);
  });

  test("fresh columns of bytes are at most an eighth longer than their values, however wrong the estimate", async () => {
    const assembler = new Assembler(spec({ small: "bytes", large: "bytes" }));
    for (let step = 0; step < 40; step++) {
      const records = Array.from({ length: 4 }, (_, row) => ({
        small: "s".repeat(step % 3 === 0 ? 900 : 5),
        large: "l".repeat(100 + step * 40 + row),
      }));
      const { columns } = await assembler.assemble(input(records));
      for (const name of ["small", "large"] as const) {
        const { values } = columns[name] as { values: Uint8Array };
        expect(new TextDecoder().decode(values)).toBe(records.map((record) => record[name]).join(""));
        expect(values.buffer.byteLength).toBeLessThanOrEqual(values.length * 1.125);
      }
    }
  });

  test("an aborted batch", async () => {
    const signal = AbortSignal.abort(new Error("enough"));
    expect(await failure(new Assembler(spec({ a: "int32" })).assemble(input([{ a: 1 }], { signal })))).toMatchObject({
      code: "MILLRACE_ABORTED",
    });
    const controller = new AbortController();
    const rows: number[] = [];
    const onRow = (row: number): void => {
      rows.push(row);
      if (row === 1) controller.abort();
    };
    const options = { signal: controller.signal, onRow };
    expect(
      await failure(new Assembler(spec({ a: "int32" }, { onError: "skip" })).assemble(input([{ a: 1 }, { a: 2 }, { a: 3 }], options))),
    ).toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(rows).toEqual([0, 1]);
  });

  test("fields that cannot be are refused before any record is read", () => {
    expect(() => new Assembler(spec({ a: "nothing" as "int8" }))).toThrow(/^fields\.a:/);
    expect(
      () =>
        new Assembler(
          spec(
            { a: "int8" },
            decoding({ b: "nothing" as "int8" }, () => ({})),
          ),
        ),
    ).toThrow(/^decode: output\.b:/);
  });
});

describe("with a decoder", () => {
  test("the decoder gets the sample and its context, at once or by promise", async () => {
    const seen: unknown[] = [];
    const run = (sample: { a: number; o: Int32Array }, { key, index, epoch, args, random }: SampleContext<string>) => {
      seen.push([sample, key, index, epoch, args]);
      const result = { sum: sample.a + sample.o.length, drawn: random() + random() };
      return index % 2 === 0 ? result : Promise.resolve(result);
    };
    const fields: Fields = { a: "int32", o: { dtype: "int32", shape: [2], optional: true } };
    const assembler = new Assembler(spec(fields, decoding({ sum: "int32", drawn: "float64" }, run, { args: "hello" })));
    const made = await assembler.assemble(input([{ a: 1 }, { a: 2, o: [7, 8] }]));
    expect(seen).toEqual([
      [{ a: 1, o: Int32Array.of(0, 0) }, "k0", 10, 1, "hello"],
      [{ a: 2, o: Int32Array.of(7, 8) }, "k1", 11, 1, "hello"],
    ]);
    const drawn = [10, 11].map((index) => {
      const random = sampleRandom(5, 1, index);
      return random() + random();
    });
    expect(made.columns).toMatchObject({ sum: { data: Int32Array.of(3, 4) }, drawn: { data: Float64Array.from(drawn) } });
  });

  describe("the memory of a sample", () => {
    const fields: Fields = { a: "bytes", b: "bytes", n: { dtype: "int32", shape: [1024] } };
    const LARGE = 4096;
    const raw: RecordFormat = {
      ...format,
      fields: ({ bytes, begin, end }) => ({ a: bytes.subarray(begin, end), b: bytes.subarray(begin + 1, end), n: new Int32Array(1024) }),
    };
    type Given = Record<"a" | "b" | "n", { readonly buffer: ArrayBuffer }>;
    /** Two samples, the first of LARGE bytes, the second a byte shorter. Returns what is left of the buffers that each had. */
    async function left(output: Fields, run: (sample: Given, index: number) => unknown, keepsNothing = true): Promise<number[][]> {
      const given: ArrayBuffer[][] = [];
      const recorded: Run = (sample: Given, { index }) => {
        given.push([sample.a.buffer, sample.b.buffer, sample.n.buffer]);
        return run(sample, index);
      };
      const assembler = new Assembler({
        ...spec(fields, { onError: "skip", ...decoding(output, recorded, { keepsNothing }) }),
        format: raw,
      });
      const made = await assembler.assemble(input(["x".repeat(LARGE), "y".repeat(LARGE - 1)]));
      for (const column of Object.values(made.columns))
        if (column.kind === "bytes") expect(Buffer.from(column.values).toString()).toMatch(/^x*y*$/);
      return given.map((buffers) => buffers.map((buffer) => buffer.byteLength));
    }

    test("is freed once it is decoded, but for small fields", async () => {
      expect(await left({ a: "bytes", n: fields.n! }, async ({ a, n }) => ({ a, n }))).toEqual([
        [0, LARGE - 1, 0],
        [LARGE - 1, LARGE - 2, 0],
      ]);
    });

    test("is left alone where the decoder does not say that it keeps nothing", async () => {
      expect((await left({ a: "bytes" }, ({ a }) => ({ a }), false)).map(([a]) => a)).toEqual([LARGE, LARGE - 1]);
    });

    test("is left alone where the decoder failed, which may be at work on it still", async () => {
      const run = ({ a }: Given, index: number): unknown => (index === 10 ? Promise.reject(new Error("bad")) : { a });
      expect((await left({ a: "bytes" }, run)).map(([a]) => a)).toEqual([LARGE, LARGE - 1]);
    });

    test("is left alone where the output is JSON, which may hold it", async () => {
      expect((await left({ a: "json" }, ({ a }) => ({ a }))).map(([a]) => a)).toEqual([LARGE, LARGE - 1]);
    });

    test("may have been transferred by the decoder", async () => {
      expect(await left({ one: "int32" }, ({ a }) => ({ one: structuredClone(1, { transfer: [a.buffer] }) }))).toEqual([
        [0, LARGE - 1, 0],
        [0, LARGE - 2, 0],
      ]);
    });
  });

  test("nothing that a decoder gets is memory of the cache", async () => {
    const shared = new Uint8Array(new SharedArrayBuffer(8)).fill(1);
    const raw: RecordFormat = {
      ...format,
      fields: ({ bytes }) => ({ record: bytes, floats: new Float32Array(bytes.buffer as unknown as ArrayBuffer, 0, 1) }),
    };
    const run = (sample: { record: Uint8Array; floats: Float32Array }) => {
      expect(sample.record.buffer).toBeInstanceOf(ArrayBuffer);
      sample.record.fill(9);
      sample.floats.fill(9);
      return sample;
    };
    const fields: Fields = { record: "bytes", floats: { dtype: "float32", shape: [1] } };
    const assembler = new Assembler({ ...spec(fields, decoding(fields, run)), format: raw });
    const made = await assembler.assemble({
      rows: batchRows([{ bytes: shared, key: "k", index: 0, shardPath: "s" }]),
      padding: 0,
      epoch: 0,
    });
    expect(made.columns).toMatchObject({ record: { values: new Uint8Array(8).fill(9) }, floats: { data: Float32Array.of(9) } });
    expect(Array.from(shared)).toEqual([1, 1, 1, 1, 1, 1, 1, 1]);
  });

  test.each<[string, Run, RegExp]>([
    [
      "throws",
      () => {
        throw new RangeError("no picture");
      },
      /the decoder failed: no picture$/,
    ],
    [
      "throws no error",
      () => {
        throw "a fit";
      },
      /the decoder failed: a fit$/,
    ],
    ["rejects", () => Promise.reject(new RangeError("no picture")), /the decoder failed: no picture$/],
    ["returns nothing", () => undefined, /the decoder returned undefined, not an object/],
    ["returns null", () => null, /the decoder returned null, not an object/],
    ["leaves a field out", () => ({ d: 1 }), /the decoder's result does not fit its output: field "c" is missing; there are: d/],
    ["returns a value that does not fit", () => ({ c: 0.5 }), /does not fit its output: field "c", declared as "int32": element 0 is 0.5/],
  ])("one that %s is MILLRACE_DECODE with its sample", async (_, run, message) => {
    const error = await failure(new Assembler(spec({ a: "int32" }, decoding({ c: "int32" }, run))).assemble(input([{ a: 1 }])));
    expect(error).toMatchObject({
      code: "MILLRACE_DECODE",
      uri: "memory://m/s0.json",
      sample: { key: "k0", index: 10 },
      message: expect.stringMatching(message),
    });
  });

  test("what concerns the whole run is never skipped", async () => {
    const run = (): never => {
      throw new MillraceError("MILLRACE_CONFIG", "install sharp");
    };
    const assembler = new Assembler(spec({ a: "int32" }, { onError: "skip", ...decoding({ c: "int32" }, run) }));
    expect(await failure(assembler.assemble(input([{ a: 1 }])))).toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringContaining("install sharp"),
    });
  });

  test("a promise that does not come is MILLRACE_TIMEOUT, fires the sample's signal, and may be skipped", async () => {
    const fired: unknown[] = [];
    const run = ({ a }: { a: number }, { signal }: SampleContext<never>) => {
      if (a !== 2) return { c: a };
      signal.addEventListener("abort", () => fired.push(signal.reason.code));
      return new Promise(() => {});
    };
    const options = decoding({ c: "int32" }, run as Run, { timeoutMs: 20 });
    const records = input([{ a: 1 }, { a: 2 }, { a: 3 }]);
    expect(await failure(new Assembler(spec({ a: "int32" }, options)).assemble(records))).toMatchObject({
      code: "MILLRACE_TIMEOUT",
      sample: { key: "k1" },
      message: expect.stringMatching(/longer than 20 ms; raise decodeTimeout/),
    });
    expect(fired).toEqual(["MILLRACE_TIMEOUT"]);
    const made = await new Assembler(spec({ a: "int32" }, { onError: "skip", ...options })).assemble(records);
    expect(made).toMatchObject({
      size: 2,
      skipped: [{ key: "k1", code: "MILLRACE_TIMEOUT" }],
      columns: { c: { data: Int32Array.of(1, 3) } },
    });
  });

  test("an abort ends the wait for a promise and fires the sample's signal, also where the decoder fired it itself", async () => {
    const controller = new AbortController();
    const signals: AbortSignal[] = [];
    const run = (_: never, context: SampleContext<never>): Promise<never> => {
      controller.abort(new Error("enough"));
      queueMicrotask(() => signals.push(context.signal));
      return new Promise(() => {});
    };
    const assembler = new Assembler(spec({ a: "int32" }, { onError: "skip", ...decoding({ c: "int32" }, run) }));
    expect(await failure(assembler.assemble(input([{ a: 1 }], { signal: controller.signal })))).toMatchObject({
      code: "MILLRACE_ABORTED",
      cause: { message: "enough" },
    });
    expect(signals[0]!.aborted).toBe(true);
  });

  test("a late abort leaves nothing behind", async () => {
    const controller = new AbortController();
    const run = async (sample: unknown) => sample;
    await new Assembler(spec({ a: "int32" }, decoding({ a: "int32" }, run))).assemble(
      input([{ a: 1 }, { a: 2 }], { signal: controller.signal }),
    );
    expect(EventEmitter.getEventListeners(controller.signal, "abort")).toHaveLength(0);
  });
});

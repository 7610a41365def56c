import * as ort from "onnxruntime-node";
import { describe, expect, it } from "vitest";
import { node, valueInfo } from "../../../examples/infer-onnx/onnx-model.js";
import { message } from "../../../examples/support/protobuf.js";
import { createSession, feeds } from "../../../src/adapters/onnx.js";
import { externalDataNames } from "../../../src/adapters/onnx-external-data.js";
import type { Batch, Column } from "../../../src/api.js";
import { MillraceError } from "../../../src/errors.js";
import { fakeBatch, tensor } from "./fake-loader.js";

type AnyBatch = Batch<Record<string, never>>;
const batchOf = (columns: Record<string, Column>): AnyBatch => fakeBatch(columns, 2);

describe("feeds", () => {
  it.each([
    ["float32", new Float32Array([1, 2])],
    ["float64", new Float64Array([1, 2])],
    ["uint8", new Uint8Array([1, 2])],
    ["int8", new Int8Array([1, 2])],
    ["uint16", new Uint16Array([1, 2])],
    ["int16", new Int16Array([1, 2])],
    ["uint32", new Uint32Array([1, 2])],
    ["int32", new Int32Array([1, 2])],
    ["int64", new BigInt64Array([1n, 2n])],
    ["uint64", new BigUint64Array([1n, 2n])],
  ] as const)("hands over a %s column without a copy", (dtype, data) => {
    const fed = feeds(ort, batchOf({ c: tensor(dtype, [2, 1], data as never) }), { x: "c" });
    expect(Object.keys(fed)).toEqual(["x"]);
    expect(fed.x).toBeInstanceOf(ort.Tensor);
    expect(fed.x!.type).toBe(dtype);
    expect(fed.x!.dims).toEqual([2, 1]);
    expect(fed.x!.data).toBe(data);
  });

  it("reads uint8 as bool and uint16 as float16 where asked", () => {
    const batch = batchOf({
      mask: tensor("uint8", [2], new Uint8Array([0, 1])),
      half: tensor("uint16", [2], new Uint16Array([0x3c00, 0])),
    });
    const fed = feeds(ort, batch, { m: { column: "mask", type: "bool" }, h: { column: "half", type: "float16" } });
    expect([fed.m!.type, fed.h!.type]).toEqual(["bool", "float16"]);
    expect(() => feeds(ort, batch, { m: { column: "half", type: "bool" } })).toThrow(
      expect.objectContaining({ code: "MILLRACE_CONFIG", message: 'inputs.m: bool is made of uint8 values, and column "half" is uint16' }),
    );
  });

  it("makes text a string tensor", () => {
    const text = { kind: "values", values: ["a", "b"], at: () => "" } as const;
    const fed = feeds(ort, batchOf({ text }), { t: "text" });
    expect([fed.t!.type, fed.t!.dims, fed.t!.data]).toEqual(["string", [2], ["a", "b"]]);
  });

  it("copies shared memory, which ONNX Runtime refuses", () => {
    const shared = new Float32Array(new SharedArrayBuffer(8)).fill(3);
    const fed = feeds(ort, batchOf({ c: tensor("float32", [2], shared as never) }), { x: "c" });
    expect((fed.x!.data as Float32Array).buffer).toBeInstanceOf(ArrayBuffer);
    expect([...(fed.x!.data as Float32Array)]).toEqual([3, 3]);
  });

  it("says what to do about a column that is missing or no tensor", () => {
    const raw = { kind: "bytes", values: new Uint8Array(), offsets: new Float64Array(1), at: () => new Uint8Array() } as const;
    const json = { kind: "values", values: [{}, 1], at: () => 0 } as const;
    const batch = batchOf({ raw, json });
    const failure = (column: string) => expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringContaining(column) });
    expect(() => feeds(ort, batch, { x: "image" })).toThrow(failure('inputs.x: there is no column "image"; the columns are raw, json'));
    expect(() => feeds(ort, batch, { x: "raw" })).toThrow(failure('column "raw" is bytes'));
    expect(() => feeds(ort, batch, { x: "json" })).toThrow(failure('column "json" is values'));
  });
});

/** y = x + w, with w kept in `location` or, where that is undefined, in the model. */
function addModel(location: string | undefined, extra: Uint8Array = new Uint8Array()): Uint8Array {
  const data =
    location === undefined
      ? message([9, new Uint8Array(new Float32Array([10, 20]).buffer)])
      : message([13, message([1, "location"], [2, location])], [13, message([1, "length"], [2, "8"])], [14, 1]);
  const weight = Buffer.concat([message([1, 2], [2, 1], [8, "w"]), data]);
  const graph = Buffer.concat([
    message([1, node("Add", ["x", "w"], "y")], [2, "add"], [5, weight], [11, valueInfo("x", [2])], [12, valueInfo("y", [2])]),
    extra,
  ]);
  return message([1, 8], [7, graph], [8, message([1, ""], [2, 13])]);
}
const WEIGHTS = new Uint8Array(new Float32Array([10, 20]).buffer);

/** A mill with these files, that counts what is read. */
function millOf(files: Record<string, Uint8Array>) {
  const reads: string[] = [];
  async function readFile(path: string): Promise<Uint8Array<ArrayBuffer>> {
    reads.push(path);
    const bytes = files[path];
    if (bytes === undefined) throw new MillraceError("MILLRACE_NOT_FOUND", `${path} does not exist`);
    return new Uint8Array(bytes);
  }
  return { reads, readFile };
}
async function run(session: ort.InferenceSession): Promise<number[]> {
  const { y } = await session.run(feeds(ort, batchOf({ c: tensor("float32", [2], new Float32Array([1, 2])) }), { x: "c" }));
  return [...(y!.data as Float32Array)];
}

describe("createSession", () => {
  it("opens a model that is whole in one file with one read", async () => {
    const mill = millOf({ "/models/add.onnx": addModel(undefined) });
    expect(await run(await createSession(ort, mill, "/models/add.onnx"))).toEqual([11, 22]);
    expect(mill.reads).toEqual(["/models/add.onnx"]);
  });

  it("finds external data by itself and reads it from beside the model", async () => {
    const mill = millOf({ "/models/add.onnx": addModel("parts/w.bin"), "/models/parts/w.bin": WEIGHTS });
    const session = await createSession(ort, mill, "/models/add.onnx", { graphOptimizationLevel: "basic" });
    expect(await run(session)).toEqual([11, 22]);
    expect(mill.reads).toEqual(["/models/add.onnx", "/models/parts/w.bin"]);
  });

  it("reads listed names once, and not at all those whose bytes it is given", async () => {
    const mill = millOf({ "add.onnx": addModel("w.bin"), "w.bin": WEIGHTS });
    expect(await run(await createSession(ort, mill, "add.onnx", { externalData: ["w.bin"] }))).toEqual([11, 22]);
    expect(mill.reads).toEqual(["add.onnx", "w.bin"]);
    const alone = millOf({ "add.onnx": addModel("w.bin") });
    const externalData = [{ path: "w.bin", data: new Uint8Array(new Float32Array([1, 1]).buffer) }];
    expect(await run(await createSession(ort, alone, "add.onnx", { externalData }))).toEqual([2, 3]);
    expect(alone.reads).toEqual(["add.onnx"]);
  });

  it("passes on what readFile throws", async () => {
    await expect(createSession(ort, millOf({ "add.onnx": addModel("w.bin") }), "add.onnx")).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      message: "w.bin does not exist",
    });
  });

  it.each(["../w.bin", "/etc/passwd", "a/../../w.bin", "file:w.bin", "a\\w.bin", ""])("refuses external data at %j", async (location) => {
    const mill = millOf({ "m/add.onnx": addModel(location) });
    await expect(createSession(ort, mill, "m/add.onnx")).rejects.toMatchObject({ code: "MILLRACE_FORMAT" });
    expect(mill.reads).toEqual(["m/add.onnx"]);
  });

  it("names the file that is no model", async () => {
    const cut = addModel(undefined).subarray(0, 40);
    for (const bytes of [Buffer.from("hello world"), cut, Uint8Array.of(8, 255)])
      await expect(createSession(ort, millOf({ "m.onnx": bytes }), "m.onnx")).rejects.toMatchObject({
        code: "MILLRACE_FORMAT",
        message: expect.stringMatching(/^m\.onnx: The file is not an ONNX model/),
      });
    const unknownOperator = message([1, 8], [7, message([1, node("Nope", [], "y")], [2, "g"])], [8, message([1, ""], [2, 13])]);
    await expect(createSession(ort, millOf({ "m.onnx": unknownOperator }), "m.onnx")).rejects.toMatchObject({
      code: "MILLRACE_FORMAT",
      message: expect.stringMatching(/^m\.onnx: ONNX Runtime refused the model/),
    });
  });

  it("honours an abort between reading and opening", async () => {
    const controller = new AbortController();
    const mill = {
      async readFile() {
        controller.abort();
        return new Uint8Array(addModel(undefined));
      },
    };
    await expect(createSession(ort, mill, "m.onnx", { signal: controller.signal })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  });
});

describe("externalDataNames", () => {
  const external = (name: string) => message([13, message([1, "location"], [2, name])], [14, 1]);

  it("looks into node attributes, subgraphs, sparse tensors and functions, and names each file once", () => {
    const constant = message([1, "value"], [5, external("attribute.bin")]);
    const branch = message([1, "then_branch"], [6, message([5, external("branch.bin")], [5, external("branch.bin")])]);
    const extra = message(
      [1, message([5, constant], [5, branch])],
      [15, message([1, external("values.bin")], [2, external("indices.bin")])],
    );
    const inFunction = message([25, message([7, message([5, message([5, external("function.bin")])])])]);
    const model = Buffer.concat([addModel("w.bin", extra), inFunction]);
    expect(externalDataNames(model)).toEqual(["w.bin", "attribute.bin", "branch.bin", "values.bin", "indices.bin", "function.bin"]);
  });

  it("passes over fixed-width and varint fields, and names that are no location", () => {
    const fixed = Uint8Array.of(
      0x79,
      1,
      2,
      3,
      4,
      5,
      6,
      7,
      8,
      0x7d,
      1,
      2,
      3,
      4,
      0x08,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0xff,
      0x01,
    );
    const checksum = message([7, message([5, message([13, message([1, "checksum"], [2, "abc"])])])]);
    expect(externalDataNames(Buffer.concat([fixed, checksum, addModel("w.bin")]))).toEqual(["w.bin"]);
  });
});

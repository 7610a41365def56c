import { mkdtemp, readdir, readFile, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import * as tf from "@tensorflow/tfjs";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ioHandler } from "../../../src/adapters/tfjs.js";
import { type Millrace, openMillrace } from "../../../src/index.js";

let root: string;
let folder: string;
let mill: Millrace;
let count = 0;
beforeAll(async () => {
  await tf.setBackend("cpu");
  root = await mkdtemp(join(tmpdir(), "millrace-test-"));
  mill = await openMillrace({ engine: "inline", cache: { memory: "16MiB" }, mounts: { "/m": pathToFileURL(root).href } });
});
beforeEach(() => {
  folder = `/m/${++count}`;
});
afterAll(async () => {
  await mill.close();
  await rm(root, { recursive: true });
});
const pathOf = (name: string) => join(root, String(count), name);
const filesOf = async () => (await readdir(pathOf(""))).sort();

function model(units = 3): tf.Sequential {
  const made = tf.sequential({
    layers: [
      tf.layers.dense({
        name: "a",
        units,
        inputShape: [2],
        activation: "relu",
        kernelInitializer: tf.initializers.glorotUniform({ seed: 1 }),
      }),
      tf.layers.dense({ name: "b", units: 1, kernelInitializer: tf.initializers.glorotUniform({ seed: 2 }) }),
    ],
  });
  made.compile({ optimizer: tf.train.momentum(0.1, 0.9), loss: "meanSquaredError", metrics: ["mae"] });
  return made;
}
const X = () => tf.tensor2d([1, 2, 3, 4, 5, 6], [3, 2]);
const outputs = (of: tf.LayersModel | tf.GraphModel) => [...(of.predict(X()) as tf.Tensor).dataSync()];
/** Writes a model.json whose weight files are these. */
async function writeModel(groups: { paths: string[]; weights: object[] }[], files: Record<string, Uint8Array>): Promise<string> {
  const { modelTopology } = await artifactsOf(model(1));
  for (const [name, bytes] of Object.entries(files)) await mill.writeFile(`${folder}/${name}`, bytes);
  await mill.writeFile(`${folder}/model.json`, JSON.stringify({ modelTopology, weightsManifest: groups }));
  return `${folder}/model.json`;
}
async function artifactsOf(of: tf.LayersModel): Promise<tf.io.ModelArtifacts> {
  let seen: tf.io.ModelArtifacts = {};
  await of.save(
    tf.io.withSaveHandler(async (artifacts) => {
      seen = artifacts;
      return { modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: "JSON" } };
    }),
  );
  return seen;
}
const bytesOf = (...values: number[]) => new Uint8Array(new Float32Array(values).buffer);
const weight = (name: string, shape: number[], rest: object = {}) => ({ name, shape, dtype: "float32", ...rest });
/** The weights of `model(1)`: 2 and 1 of the first layer, 1 and 1 of the second. */
const SPECS = [weight("a/kernel", [2, 1]), weight("a/bias", [1]), weight("b/kernel", [1, 1]), weight("b/bias", [1])];

describe("save, then load", () => {
  it("gives the model back, with its training, its optimizer's weights and its metadata", async () => {
    const made = model();
    await made.fit(X(), tf.tensor2d([1, 2, 3], [3, 1]), { epochs: 2, verbose: 0 });
    made.setUserDefinedMetadata({ note: { kept: true } });
    const saved = await made.save(ioHandler(mill, `${folder}/model.json`), { includeOptimizer: true });
    expect(await filesOf()).toEqual([expect.stringMatching(/^model\.json$/), expect.stringMatching(/^model\.weights-[0-9a-f]{16}\.bin$/)]);
    // 2 × 3 + 3 + 3 + 1 weights, once for the model and once for the momentum, and the optimizer's count of steps where it has one.
    const bytes = (await readFile(pathOf((await filesOf())[1]!))).byteLength;
    expect(saved.modelArtifactsInfo).toMatchObject({ modelTopologyType: "JSON", weightDataBytes: bytes });
    expect(saved.modelArtifactsInfo.modelTopologyBytes).toBeGreaterThan(100);

    const loaded = await tf.loadLayersModel(ioHandler(mill, `${folder}/model.json`));
    expect(outputs(loaded)).toEqual(outputs(made));
    expect(loaded.getUserDefinedMetadata()).toEqual({ note: { kept: true } });
    expect(loaded.loss).toBe("meanSquaredError");
    const numbers = async (of: tf.LayersModel) => (await of.optimizer.getWeights()).map(({ tensor }) => [...tensor.dataSync()]);
    expect(await numbers(loaded)).toEqual(await numbers(made));
    expect((await numbers(made)).length).toBeGreaterThan(1);
  });

  it("leaves the old version whole while a new one is written, and writes the JSON last", async () => {
    const path = `${folder}/model.json`;
    await model().save(ioHandler(mill, path));
    const old = await readFile(pathOf("model.json"), "utf8");
    const written: string[] = [];
    const watching: Pick<Millrace, "readFile" | "writeFile"> = {
      readFile: (...args) => mill.readFile(...args),
      async writeFile(name, ...rest) {
        if (name === path) expect(outputs(await tf.loadLayersModel(ioHandler(mill, path)))).toEqual(outputs(model()));
        written.push(name);
        return mill.writeFile(name, ...rest);
      },
    };
    const changed = model();
    changed.layers[1]!.setWeights([tf.ones([3, 1]), tf.ones([1])]);
    await changed.save(ioHandler(watching, path));
    expect(written).toEqual([expect.stringMatching(/model\.weights-[0-9a-f]{16}\.bin$/), path]);
    expect(await readFile(pathOf("model.json"), "utf8")).not.toBe(old);
    expect(outputs(await tf.loadLayersModel(ioHandler(mill, path)))).toEqual(outputs(changed));
    // The same weights again are the same file.
    await changed.save(ioHandler(mill, path));
    expect(await filesOf()).toHaveLength(3);
  });

  it("passes on what writing throws, and writes no JSON then", async () => {
    const written: string[] = [];
    const failing: Pick<Millrace, "readFile" | "writeFile"> = {
      readFile: (...args) => mill.readFile(...args),
      async writeFile(path) {
        written.push(path);
        throw new Error("no room");
      },
    };
    await expect(model().save(ioHandler(failing, `${folder}/model.json`))).rejects.toThrow("no room");
    expect(written).toHaveLength(1);
  });

  it("refuses a topology in binary form", async () => {
    await expect(ioHandler(mill, `${folder}/model.json`).save({ modelTopology: new ArrayBuffer(8) })).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
    });
  });
});

describe("load", () => {
  it("puts several groups of several files together, where a weight may cross from one file to the next", async () => {
    const all = bytesOf(1, 2, 3, 4, 5);
    const path = await writeModel(
      [
        { paths: ["g1-1of2.bin", "parts/g1-2of2.bin"], weights: SPECS.slice(0, 2) },
        { paths: ["./g2.bin", "none.bin"], weights: SPECS.slice(2) },
      ],
      {
        "g1-1of2.bin": all.subarray(0, 5),
        "parts/g1-2of2.bin": all.subarray(5, 12),
        "g2.bin": all.subarray(12),
        "none.bin": new Uint8Array(0),
      },
    );
    const loaded = await tf.loadLayersModel(ioHandler(mill, path));
    expect(loaded.getWeights().map((tensor) => [...tensor.dataSync()])).toEqual([[1, 2], [3], [4], [5]]);
  });

  it("reads quantized weights", async () => {
    const quantized = (name: string, shape: number[], dtype: string, min: number, scale: number) =>
      weight(name, shape, { quantization: { dtype, min, scale } });
    const weights = [
      quantized("a/kernel", [2, 1], "uint8", -1, 0.5),
      quantized("a/bias", [1], "uint16", 0, 0.25),
      weight("b/kernel", [1, 1], { quantization: { dtype: "float16" } }),
      SPECS[3]!,
    ];
    const bytes = Uint8Array.of(0, 4, 0x00, 0x01, 0x00, 0x3e, ...bytesOf(7));
    const path = await writeModel([{ paths: ["w.bin"], weights }], { "w.bin": bytes });
    const loaded = await tf.loadLayersModel(ioHandler(mill, path));
    expect(loaded.getWeights().map((tensor) => [...tensor.dataSync()])).toEqual([[-1, 1], [64], [1.5], [7]]);
  });

  it("gives a graph model what it needs", async () => {
    const attr = (dtype: string, rest: object = {}) => ({ dtype: { type: dtype }, ...rest });
    const modelTopology = {
      node: [
        { name: "x", op: "Placeholder", attr: attr("DT_FLOAT", { shape: { shape: { dim: [{ size: "-1" }, { size: "2" }] } } }) },
        {
          name: "w",
          op: "Const",
          attr: attr("DT_FLOAT", { value: { tensor: { dtype: "DT_FLOAT", tensorShape: { dim: [{ size: "2" }] } } } }),
        },
        { name: "y", op: "AddV2", input: ["x", "w"], attr: { T: { type: "DT_FLOAT" } } },
      ],
      versions: { producer: 1, minConsumer: 1 },
    };
    const signature = {
      inputs: { x: { name: "x:0", dtype: "DT_FLOAT", tensorShape: { dim: [{ size: "-1" }, { size: "2" }] } } },
      outputs: { y: { name: "y:0", dtype: "DT_FLOAT", tensorShape: { dim: [{ size: "-1" }, { size: "2" }] } } },
    };
    await mill.writeFile(`${folder}/w.bin`, bytesOf(10, 20));
    const manifest = [{ paths: ["w.bin"], weights: [weight("w", [2])] }];
    await mill.writeFile(
      `${folder}/model.json`,
      JSON.stringify({ format: "graph-model", modelTopology, signature, weightsManifest: manifest }),
    );
    const loaded = await tf.loadGraphModel(ioHandler(mill, `${folder}/model.json`));
    expect(outputs(loaded)).toEqual([11, 22, 13, 24, 15, 26]);
    expect(loaded.modelSignature).toEqual(signature);
    await loaded.save(ioHandler(mill, `${folder}/again.json`));
    expect(outputs(await tf.loadGraphModel(ioHandler(mill, `${folder}/again.json`)))).toEqual([11, 22, 13, 24, 15, 26]);
  });

  it("takes a topology without weights, and strings, whose length is told by their bytes alone", async () => {
    const { modelTopology } = await artifactsOf(model(1));
    await mill.writeFile(`${folder}/model.json`, JSON.stringify({ modelTopology }));
    expect(outputs(await tf.loadLayersModel(ioHandler(mill, `${folder}/model.json`)))).toHaveLength(3);
    const encoded = await tf.io.encodeWeights({ s: tf.tensor1d(["ab", "c"], "string") });
    await mill.writeFile(`${folder}/s.bin`, new Uint8Array(encoded.data as ArrayBuffer));
    const path = `${folder}/strings.json`;
    await mill.writeFile(path, JSON.stringify({ weightsManifest: [{ paths: ["s.bin"], weights: encoded.specs }] }));
    const { weightData, weightSpecs } = await ioHandler(mill, path).load();
    const decoded = tf.io.decodeWeights(weightData!, weightSpecs!) as Record<string, tf.Tensor>;
    expect([...decoded.s!.dataSync()]).toEqual(["ab", "c"]);
  });

  it("says which file is missing, outside the folder, cut off or no model", async () => {
    const load = (path: string) => ioHandler(mill, path).load();
    const group = (name: string) => [{ paths: [name], weights: SPECS }];
    await expect(load(`${folder}/none.json`)).rejects.toMatchObject({ code: "MILLRACE_NOT_FOUND", message: /none\.json/ });
    await expect(load(await writeModel(group("gone.bin"), {}))).rejects.toMatchObject({
      code: "MILLRACE_NOT_FOUND",
      message: /\.json: its weight file .*gone\.bin is not there/,
    });
    for (const name of ["../w.bin", "/w.bin", "https://example.org/w.bin"])
      await expect(load(await writeModel(group(name), {}))).rejects.toMatchObject({
        code: "MILLRACE_FORMAT",
        message: expect.stringContaining(`"${name}" is not in the model's folder`),
      });
    const whole = await writeModel(group("w.bin"), { "w.bin": bytesOf(1, 2, 3, 4, 5) });
    await expect(load(whole)).resolves.toBeDefined();
    await truncate(pathOf("w.bin"), 19);
    await mill.invalidate(folder);
    await expect(load(whole)).rejects.toMatchObject({
      code: "MILLRACE_FORMAT",
      message: `${whole}: its weights take 20 bytes, and w.bin hold 19`,
    });
  });

  it.each([
    ["no JSON", "{", "not a model's JSON"],
    ["JSON of something else", '{"a":1}', 'has neither "modelTopology" nor "weightsManifest"'],
    ["null", "null", 'has neither "modelTopology" nor "weightsManifest"'],
    ["a manifest that is no list", '{"weightsManifest":{}}', '"weightsManifest" is not a list'],
    ["a group without weights", '{"weightsManifest":[{"paths":["w"]}]}', '"weightsManifest" is not a list'],
    ["a path that is no text", '{"weightsManifest":[{"paths":[1],"weights":[]}]}', '"weightsManifest" is not a list'],
    ["a weight without a shape", '{"weightsManifest":[{"paths":[],"weights":[{}]}]}', '"weightsManifest" is not a list'],
    ["a group of null", '{"weightsManifest":[null]}', '"weightsManifest" is not a list'],
  ])("refuses %s", async (_what, text, message) => {
    await mill.writeFile(`${folder}/model.json`, text);
    await expect(ioHandler(mill, `${folder}/model.json`).load()).rejects.toMatchObject({
      code: "MILLRACE_FORMAT",
      message: expect.stringContaining(`${folder}/model.json: ${message}`),
    });
  });

  it("honours an abort", async () => {
    await model().save(ioHandler(mill, `${folder}/model.json`));
    const handler = ioHandler(mill, `${folder}/model.json`, { signal: AbortSignal.abort() });
    await expect(handler.load()).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await expect(model().save(handler)).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  });
});

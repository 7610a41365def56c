/** What callers of checkpoints get wrong: each is refused, by the name of the option, before anything is read or written. */
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Checkpoint, type Millrace, type NamedTensor, openMillrace } from "../../src/index.js";

let folder: string;
let mill: Millrace;
let checkpoint: Checkpoint;
const tensors: NamedTensor[] = [
  { name: "w", dtype: "F32", shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
  { name: "n", dtype: "I64", shape: [], data: BigInt64Array.of(5n) },
];
const drained = async (stream: AsyncIterable<unknown>) => {
  for await (const _ of stream);
};
/** As from JavaScript, where no compiler looks at it. */
const loose = (value: unknown): never => value as never;
const config = (message: RegExp) => expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringMatching(message) });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-test-"));
  mill = await openMillrace({ engine: "inline", cache: { memory: "16MiB" }, mounts: { "/c": pathToFileURL(folder).href } });
  await mill.saveCheckpoint("/c/m.safetensors", tensors);
  checkpoint = await mill.checkpoint("/c/m.safetensors");
});
afterAll(async () => {
  await mill.close();
  await rm(folder, { recursive: true });
});

describe("loading", () => {
  test.each<[string, () => Promise<unknown>, RegExp]>([
    ["checkpoint: a misspelled option", () => mill.checkpoint("/c/m.safetensors", loose({ sginal: 1 })), /^sginal: no such option/],
    [
      "checkpoint: a controller",
      () => mill.checkpoint("/c/m.safetensors", loose({ signal: new AbortController() })),
      /^signal: .*AbortSignal/,
    ],
    ["load: name for names", () => checkpoint.load(loose({ name: ["w"] })), /^name: no such option/],
    ["load: a list", () => checkpoint.load(loose(["w"])), /^options: /],
    ["load: a name", () => checkpoint.load(loose("w")), /^options: /],
    ["load: nothing", () => checkpoint.load(loose(null)), /^options: /],
    ["load: names as a string", () => checkpoint.load(loose({ names: "head" })), /^names: /],
    ["load: onProgress as a number", () => checkpoint.load(loose({ onProgress: 5 })), /^onProgress: expected a function/],
    ["tensor: row for rows", () => checkpoint.tensor("w", loose({ row: { from: 0, to: 1 } })), /^row: no such option/],
    ["tensor: no name", () => checkpoint.tensor(loose(undefined)), /^name: /],
    ["tensor: null as rows", () => checkpoint.tensor("w", loose({ rows: null })), /^rows takes { from, to }, whole numbers$/],
    ["tensor: rows as a list", () => checkpoint.tensor("w", loose({ rows: [0, 1] })), /^rows takes/],
    ["tensor: rows of strings", () => checkpoint.tensor("w", loose({ rows: { from: "0", to: 1 } })), /^rows takes/],
    ["tensor: a misspelled end", () => checkpoint.tensor("w", loose({ rows: { form: 1 } })), /^rows takes/],
    ["stream: name for names", () => drained(checkpoint.stream(loose({ name: ["w"] }))), /^name: no such option/],
  ])("%s", async (_, call, message) => {
    await expect(call()).rejects.toEqual(config(message));
  });

  test("rows reach to the end that is left out", async () => {
    const row = async (rows: { from?: number; to?: number }) => [...((await checkpoint.tensor("w", { rows })).data as Float32Array)];
    expect([await row({ from: 1 }), await row({ to: 1 }), await row({})]).toEqual([
      [3, 4],
      [1, 2],
      [1, 2, 3, 4],
    ]);
    await expect(checkpoint.tensor("n", { rows: {} })).rejects.toEqual(config(/it is a scalar/));
  });
});

describe("saving", () => {
  test.each<[string, unknown, RegExp]>([
    ["an array of another type", [{ ...tensors[0], data: new Int32Array(4) }], /dtype F32 takes a Float32Array .*, got Int32Array/],
    ["null among the tensors", [null], /^tensors\[0\]: expected/],
    ["a tensor alone", tensors[0], /^tensors: expected an iterable or a Map/],
    ["a dimension that is none", [{ ...tensors[0], shape: [null] }], /shape \[null\]/],
  ])("%s", async (_, given, message) => {
    await expect(mill.saveCheckpoint("/c/bad.safetensors", loose(given))).rejects.toEqual(config(message));
    expect(await readdir(folder)).toEqual(["m.safetensors"]);
  });

  test.each<[string, unknown, RegExp]>([
    ["shards of nothing", { maxShardBytes: 0 }, /^maxShardBytes: expected at least 1 byte/],
    ["metadata of numbers", { metadata: { step: 3 } }, /metadata "step"/],
    ["metadata in a Map", { metadata: new Map() }, /^metadata: expected an object of strings$/],
    ["keep as a string", { keep: "3" }, /^keep: expected .*, got string$/],
    ["another way to write", { write: "bck" }, /^write: expected one of "through"\|"back"$/],
    ["a controller", { signal: new AbortController() }, /^signal: expected an AbortSignal$/],
  ])("%s", async (_, options, message) => {
    await expect(mill.saveCheckpoint("/c/bad.safetensors", tensors, loose(options))).rejects.toEqual(config(message));
  });

  test("metadata has the keys that it was given, whatever they are", async () => {
    const metadata = JSON.parse('{"__proto__":"p","b":"c"}');
    await mill.saveCheckpoint("memory://copies/p.safetensors", tensors, { metadata });
    expect(Object.entries((await mill.checkpoint("memory://copies/p.safetensors")).metadata).sort()).toEqual([
      ["__proto__", "p"],
      ["b", "c"],
    ]);
  });

  test("what load() gives can be saved as it is", async () => {
    await mill.saveCheckpoint("memory://copies/m.safetensors", await checkpoint.load());
    const copy = await mill.checkpoint("memory://copies/m.safetensors");
    expect(copy.tensors).toEqual(checkpoint.tensors);
    expect((await copy.tensor("w")).data).toEqual(tensors[0]!.data);
  });
});

describe("training states", () => {
  const save = (run: unknown, options: unknown = {}) => mill.saveTrainingState("/c/run", loose(run), loose(options));
  const loader = { version: 1, fingerprint: "f", order: "o", epoch: 0, position: 0 };
  test.each<[string, () => Promise<unknown>, RegExp]>([
    ["no run", () => save(undefined), /^run: expected { tensors, loader, extra }/],
    ["the tensors alone", () => save(tensors), /^run: expected/],
    ["no prefix", () => mill.saveTrainingState(loose(undefined), { tensors }), /^prefix: /],
    ["swapped arguments", () => mill.saveTrainingState(loose({ tensors }), loose("/c/run")), /^prefix: /],
    ["a misspelled part", () => save({ tensor: tensors }), /tensor: no such option/],
    ["tensors left out", () => save({ loader }), /^tensors: /],
    ["extras", () => save({ tensors, extras: 1 }), /^extras: no such option/],
    ["loaderState", () => save({ tensors, loaderState: loader }), /^loaderState: no such option/],
    ["a loader that is no state", () => save({ tensors, loader: "hello" }), /^loader: expected object, got string$/],
    ["a loader", () => save({ tensors, loader: { state: () => loader } }), /^loader\.version: /],
    ["metadata", () => save({ tensors }, { metadata: { a: "b" } }), /^metadata: not for training states.*`extra`/],
    ["shards", () => save({ tensors }, { maxShardBytes: "1MB" }), /^maxShardBytes: not for training states/],
    ["a misspelled option", () => save({ tensors }, { kep: 2 }), /^kep: no such option/],
    ["null as options", () => save({ tensors }, null), /^options: expected object, got null$/],
    ["a typed array", () => save({ tensors, extra: { best: [1, new Float32Array(2)] } }), /^extra\.best\[1\]: Float32Array cannot.*tensor/],
    ["a Map", () => save({ tensors, extra: new Map() }), /^extra: Map cannot be kept as JSON/],
    ["a Set", () => save({ tensors, extra: { seen: new Set() } }), /^extra\.seen: Set cannot/],
    ["a function", () => save({ tensors, extra: { a: { b: () => 1 } } }), /^extra\.a\.b: a function cannot/],
    ["loadLatest without a prefix", () => mill.loadLatest(loose(undefined)), /^prefix: /],
    ["loadLatest: a misspelled option", () => mill.loadLatest("/c/run", loose({ sgnal: 1 })), /^sgnal: no such option/],
  ])("%s", async (_, call, message) => {
    await expect(call()).rejects.toEqual(config(message));
    expect(await readdir(folder)).toEqual(["m.safetensors"]);
  });
});

const cause = new Error("no such bar");
describe.each([
  [
    "throws",
    () => {
      throw cause;
    },
  ],
  ["rejects", () => Promise.reject(cause)],
])("an onProgress that %s ends its call", (_, onProgress) => {
  test.each<[string, () => Promise<unknown>]>([
    ["checkpoint", () => mill.checkpoint("/c/m.safetensors", { onProgress })],
    ["load", () => checkpoint.load({ onProgress })],
    ["stream", () => drained(checkpoint.stream({ onProgress }))],
    ["saveCheckpoint", () => mill.saveCheckpoint("memory://copies/thrown.safetensors", tensors, { onProgress })],
    ["readFile", () => mill.readFile("/c/m.safetensors", { onProgress })],
    ["prefetch", () => mill.prefetch("/c/m.safetensors", { onProgress }).done],
  ])("%s", async (_, call) => {
    await expect(call()).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringContaining("no such bar"), cause });
  });
});

import { describe, expect, it } from "vitest";
import type { NamedTensor, TensorDtype } from "../../../src/api.js";
import { parseShardIndex } from "../../../src/checkpoint/checkpoint-index.js";
import { parseHeader } from "../../../src/checkpoint/safetensors.js";
import { planSave } from "../../../src/checkpoint/save-plan.js";

const bytes = (name: string, length: number, dtype = "U8"): NamedTensor => ({
  name,
  dtype: dtype as TensorDtype,
  shape: [length],
  data: new Uint8Array(length).fill(7),
});
const tensors = [bytes("c", 30), bytes("a", 10), bytes("b", 100), bytes("d", 0)];
const plan = (target: string, maxShardBytes?: number, given: readonly NamedTensor[] = tensors, metadata?: Record<string, string>) =>
  planSave(target, given, { metadata, maxShardBytes, tag: "0123abcd" });
const names = (files: ReturnType<typeof planSave>) => files.map(({ path }) => path);

describe("planSave", () => {
  it("one file: its header, then the tensors where they are", () => {
    const [file, ...more] = plan("f/m.safetensors", undefined, tensors, { k: "v" });
    expect(more).toEqual([]);
    const all = Buffer.concat(file!.pieces);
    expect(all.length).toBe(file!.size);
    const { metadata, tensors: entries } = parseHeader(all, all.length, "m");
    expect(metadata).toEqual({ k: "v" });
    expect(entries.map(({ name, begin, end }) => [name, end - begin])).toEqual([
      ["a", 10],
      ["b", 100],
      ["c", 30],
      ["d", 0],
    ]);
    expect(file!.pieces[2]!.buffer).toBe(tensors[2]!.data.buffer);
  });

  it("shards hold as many as fit, a longer tensor has its own, and the index comes last", () => {
    const files = plan("f/m.safetensors", 60, tensors, { k: "v" });
    expect(names(files)).toEqual([...[1, 2, 3].map((n) => `f/m-0123abcd-0000${n}-of-00003.safetensors`), "f/m.safetensors.index.json"]);
    const held = files.slice(0, 3).map(({ pieces, size }) => parseHeader(Buffer.concat(pieces), size, "m"));
    expect(held.map(({ tensors: entries }) => entries.map(({ name }) => name))).toEqual([["a"], ["b"], ["c", "d"]]);
    expect(held.map(({ metadata }) => metadata)).toEqual([{ k: "v" }, { k: "v" }, { k: "v" }]);
    const index = Buffer.concat(files[3]!.pieces);
    expect(index.length).toBe(files[3]!.size);
    expect([...parseShardIndex(index, "i")].map(([name, file]) => [name, file.slice(-22, -13)])).toEqual([
      ["a", "1-of-0000"],
      ["b", "2-of-0000"],
      ["c", "3-of-0000"],
      ["d", "3-of-0000"],
    ]);
    expect(JSON.parse(index.toString()).metadata).toEqual({ total_size: 140 });
  });

  it("a target that is an index has shards, whatever their size, and no tensors at all make one", () => {
    expect(names(plan("f/m.index.json"))).toEqual(["f/m-0123abcd-00001-of-00001.safetensors", "f/m.index.json"]);
    expect(names(plan("m.safetensors.index.json", undefined, []))).toEqual([
      "m-0123abcd-00001-of-00001.safetensors",
      "m.safetensors.index.json",
    ]);
    expect(names(plan("m", 1000))).toEqual(["m-0123abcd-00001-of-00001.safetensors", "m.index.json"]);
  });

  it.each([
    ["data that is no view", [{ ...bytes("t", 1), data: [1] as unknown as Uint8Array }], "expected a typed array, got an Array"],
    ["data of another length", [bytes("t", 3), { ...bytes("u", 4), shape: [5] }], '"u": U8 [5] takes 5 bytes, but its data has 4'],
    ["an unknown dtype", [bytes("t", 1, "float32")], "float32"],
    ["one name twice, in different shards", [bytes("t", 1), bytes("u", 1), bytes("t", 1)], "twice"],
  ])("%s is refused, whole or in shards", (_, given, message) => {
    for (const maxShardBytes of [undefined, 1])
      expect(() => plan("m.safetensors", maxShardBytes, given)).toThrow(
        expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringContaining(message) }),
      );
  });
});

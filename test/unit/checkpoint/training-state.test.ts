/** Training states on files, saved by the canonical writer: their names, what is in them, and which are passed over. */
import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { formatHeader } from "../../../src/checkpoint/safetensors.js";
import { TrainingStates } from "../../../src/checkpoint/training-state.js";
import { type LoaderState, type Millrace, MillraceError, type NamedTensor, openMillrace } from "../../../src/index.js";

const LOOP: unknown[] = [];
LOOP.push(LOOP);
type StateMill = ConstructorParameters<typeof TrainingStates>[0];
const LOADER: LoaderState = { version: 1, fingerprint: "f", order: "o", epoch: 3, position: 96 };
const name = (number: number) => `state-${String(number).padStart(12, "0")}.safetensors`;
const tensorOf = (...values: number[]): NamedTensor => ({
  name: "w",
  dtype: "F32",
  shape: [values.length],
  data: new Float32Array(values),
});

let root: string;
let mill: Millrace;
/** The mill, whose checkpoints are written in one piece. */
let states: StateMill;
let count = 0;
let prefix: string;
const fileOf = (file: string) => join(root, `run-${count}`, file);

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "millrace-test-"));
  mill = await openMillrace({ engine: "inline", cache: { memory: "16MiB" }, mounts: { "/m": pathToFileURL(root).href } });
  states = {
    list: (below) => mill.list(below),
    resolve: async (path) => ({ path, uri: path }),
    invalidate: (below) => mill.invalidate(below),
    checkpoint: (source, watch) => mill.checkpoint(source, watch),
    async saveCheckpoint(target, tensors, { metadata } = {}) {
      const all: NamedTensor[] = [];
      for await (const tensor of tensors as Iterable<NamedTensor>) all.push(tensor);
      const { bytes, order } = formatHeader(all, metadata);
      const data = order.map((i) => new Uint8Array(all[i]!.data.buffer));
      return mill.writeFile(target, Buffer.concat([bytes, ...data]));
    },
  };
});
beforeEach(() => {
  prefix = `/m/run-${++count}`;
});
afterAll(async () => {
  await mill.close();
  await rm(root, { recursive: true });
});
const values = async (found: Awaited<ReturnType<TrainingStates["loadLatest"]>>) => [
  ...new Float32Array((await found!.checkpoint.tensor("w")).bytes.slice().buffer),
];

describe("save, then loadLatest", () => {
  test("gives tensors, loader and extra back, of the last save", async () => {
    const kit = new TrainingStates(states);
    expect(await kit.loadLatest(prefix)).toBeUndefined();
    await kit.save(prefix, { tensors: [tensorOf(1)], loader: LOADER, extra: { best: 0.5, note: "é" } });
    const { path } = await kit.save(`${prefix}/`, { tensors: [tensorOf(2, 3)], loader: { ...LOADER, position: 128 }, extra: null });
    expect(path).toBe(`${prefix}/${name(2)}`);
    const latest = await kit.loadLatest(prefix);
    expect(latest).toMatchObject({ loader: { ...LOADER, position: 128 }, extra: null, skipped: [] });
    expect(await values(latest)).toEqual([2, 3]);
  });

  test("leaves out what was not given", async () => {
    const kit = new TrainingStates(states);
    await kit.save(prefix, { tensors: [tensorOf(1)] });
    expect(await kit.loadLatest(prefix)).toMatchObject({ loader: undefined, extra: undefined });
    expect((await kit.loadLatest(prefix))!.checkpoint.metadata).toEqual({ "millrace.state": "1" });
  });

  test("hands on what the save is to do, and the state that was saved", async () => {
    const seen: unknown[] = [];
    const signal = new AbortController().signal;
    const kit = new TrainingStates({
      ...states,
      async saveCheckpoint(target, _tensors, options) {
        seen.push(target, options);
        return { path: target, size: 0, etag: "", lastModified: undefined };
      },
    });
    await kit.save(prefix, { tensors: [], loader: LOADER, extra: 1 }, { write: "back", keep: 2, signal });
    const metadata = { "millrace.state": "1", "millrace.loader": JSON.stringify(LOADER), "millrace.extra": "1" };
    expect(seen).toEqual([`${prefix}/${name(1)}`, { write: "back", keep: 2, signal, metadata }]);
  });

  test.each([
    ["a function", () => 1, "it is a function"],
    ["what refers to itself", LOOP, "circular"],
    ["a bigint", 1n, "BigInt"],
  ])("extra: %s", async (_what, extra, message) => {
    await expect(new TrainingStates(states).save(prefix, { tensors: [], extra })).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(new RegExp(`^extra: cannot be kept as JSON: .*${message}`, "s")),
    });
  });
});

describe("names", () => {
  test("go on from the highest that was there, in the order of the calls", async () => {
    await new TrainingStates(states).save(prefix, { tensors: [tensorOf(1)] });
    await writeFile(fileOf(name(41)), "damaged, and a number all the same");
    const kit = new TrainingStates(states);
    await Promise.all([2, 3, 4].map((value) => kit.save(prefix, { tensors: [tensorOf(value)] })));
    expect((await readdir(fileOf(""))).sort()).toEqual([1, 41, 42, 43, 44].map(name));
    expect(await values(await kit.loadLatest(prefix))).toEqual([4]);
  });

  test("are counted prefix by prefix, and by names of states alone", async () => {
    const kit = new TrainingStates(states);
    await kit.save(prefix, { tensors: [tensorOf(1)] });
    for (const other of ["state-7.safetensors", "state-000000000099.safetensors.tmp", "x-state-000000000099.safetensors"])
      await writeFile(fileOf(other), "");
    await kit.save(`${prefix}/deeper`, { tensors: [tensorOf(1)] });
    await kit.save(`${prefix}/deeper`, { tensors: [tensorOf(2)] });
    expect(await kit.save(prefix, { tensors: [tensorOf(2)] })).toMatchObject({ path: `${prefix}/${name(2)}` });
    expect(await new TrainingStates(states).save(prefix, { tensors: [] })).toMatchObject({ path: `${prefix}/${name(3)}` });
  });

  test("are asked for again where the first listing failed", async () => {
    let failures = 1;
    const kit = new TrainingStates({
      ...states,
      async *list(below) {
        if (failures-- > 0) throw new MillraceError("MILLRACE_UNAVAILABLE", "down");
        yield* states.list(below);
      },
    });
    await expect(kit.save(prefix, { tensors: [] })).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    expect(await kit.save(prefix, { tensors: [] })).toMatchObject({ path: `${prefix}/${name(1)}` });
  });
});

describe("loadLatest", () => {
  test("sees what another process has saved since", async () => {
    const [one, other] = [new TrainingStates(states), new TrainingStates(states)];
    await one.save(prefix, { tensors: [tensorOf(1)] });
    await one.loadLatest(prefix);
    await writeFile(fileOf(name(2)), await readFile(fileOf(name(1))));
    expect((await other.loadLatest(prefix))!.skipped).toEqual([]);
    await truncate(fileOf(name(2)), 10);
    expect((await one.loadLatest(prefix))!.skipped).toEqual([{ path: `${prefix}/${name(2)}`, reason: expect.any(String) }]);
  });

  test("passes over what is damaged, and says which and why, newest first", async () => {
    const kit = new TrainingStates(states);
    await kit.save(prefix, { tensors: [tensorOf(1)], loader: LOADER });
    const whole = await readFile(fileOf(name(1)));
    const other = (metadata: Record<string, string>) => Buffer.concat([formatHeader([tensorOf(1)], metadata).bytes, Buffer.alloc(4)]);
    const damaged: [Uint8Array, RegExp][] = [
      [whole.subarray(0, whole.length - 1), /./],
      [Buffer.concat([whole, Buffer.alloc(3)]), /./],
      [whole.subarray(0, 40), /cut short/],
      [Buffer.alloc(0), /too short/],
      [Buffer.from("<html>Not what you think it is</html>"), /looks like an HTML page/],
      [other({}), /is no training state/],
      [other({ "millrace.state": "1", "millrace.loader": "{" }), /its metadata "millrace.loader" is not JSON/],
      [other({ "millrace.state": "1", "millrace.extra": "" }), /its metadata "millrace.extra" is not JSON/],
    ];
    for (const [i, [bytes]] of damaged.entries()) await writeFile(fileOf(name(i + 2)), bytes);
    const latest = (await kit.loadLatest(prefix))!;
    expect(latest.loader).toEqual(LOADER);
    expect(latest.skipped).toEqual(
      damaged.map(([, reason], i) => ({ path: `${prefix}/${name(i + 2)}`, reason: expect.stringMatching(reason) })).reverse(),
    );
    for (const { path, reason } of latest.skipped) expect(reason).toContain(path);
  });

  test("throws where a newer version wrote the newest, rather than go on from an older one", async () => {
    const kit = new TrainingStates(states);
    await kit.save(prefix, { tensors: [tensorOf(1)] });
    await writeFile(fileOf(name(2)), formatHeader([], { "millrace.state": "2" }).bytes);
    await expect(kit.loadLatest(prefix)).rejects.toMatchObject({
      code: "MILLRACE_RESUME",
      message: expect.stringMatching(/state-000000000002\.safetensors: a newer version .* form "2"; this one reads form "1": update it/),
    });
  });

  test("throws where states are there and none is whole, rather than let a run begin anew unasked", async () => {
    const kit = new TrainingStates(states);
    await kit.save(prefix, { tensors: [tensorOf(1)] });
    await truncate(fileOf(name(1)), 5);
    await expect(kit.loadLatest(prefix)).rejects.toMatchObject({
      code: "MILLRACE_CORRUPT",
      message: expect.stringMatching(/^\/m\/run-\d+: none of its 1 training states is whole\. Delete them to begin anew\. .*too short/),
    });
  });

  test("takes no older state where the newest could not be read for another reason", async () => {
    const kit = new TrainingStates(states);
    for (const value of [1, 2]) await kit.save(prefix, { tensors: [tensorOf(value)] });
    for (const code of ["MILLRACE_UNAVAILABLE", "MILLRACE_PERMISSION", "MILLRACE_TIMEOUT"] as const) {
      const failing = { ...states, checkpoint: () => Promise.reject(new MillraceError(code, "no")) };
      await expect(new TrainingStates(failing).loadLatest(prefix)).rejects.toMatchObject({ code });
    }
    await expect(kit.loadLatest(prefix, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  });

  test("passes over one that vanished after it was listed, as `keep` of another process makes it", async () => {
    const kit = new TrainingStates(states);
    for (const value of [1, 2]) await kit.save(prefix, { tensors: [tensorOf(value)] });
    await mill.evict(prefix);
    const racing: StateMill = {
      ...states,
      async checkpoint(source, watch) {
        if (source.endsWith(name(2))) await rm(fileOf(name(2)), { force: true });
        return states.checkpoint(source, watch);
      },
    };
    const latest = await new TrainingStates(racing).loadLatest(prefix);
    expect(latest!.skipped).toMatchObject([{ path: `${prefix}/${name(2)}` }]);
    expect(await values(latest)).toEqual([1]);
  });
});

/** How runs end: by their caller, by an abort, by an error, by a close, in whatever they are waiting for; and what they leave behind. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type Batch, type Dataset, type Millrace, MillraceError, type MillraceOptions, openMillrace } from "../../src/index.js";
import { type MadeDataset, makeDataset, sha256 } from "../support/datasets/index.js";
import { type LocalDataset, localDataset } from "../support/local-dataset.js";
import decoder from "./fixtures/double-label.js";
import { type Gate, gate } from "./fixtures/loader-gate.js";

const fields = { image: "bytes", label: "int32" } as const;
type Columns = typeof fields;
const SAMPLES = 120;
const made: MadeDataset = makeDataset({ format: "tfrecord", samples: SAMPLES, shards: 4, bytesPerSample: 3_000 });

const mills: Millrace[] = [];
const folders: LocalDataset[] = [];
afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  await Promise.all(folders.splice(0).map((folder) => folder.remove()));
});

async function open(options: MillraceOptions = {}): Promise<Millrace> {
  const url = new URL("./fixtures/loader-gate.ts", import.meta.url);
  const mill = await openMillrace({ engine: "inline", stores: { gate: { url } }, cache: { memory: 0 }, ...options });
  mills.push(mill);
  return mill;
}
let gates = 0;
/** The dataset behind a gate of its own, over a mill of its own. */
async function gated(from: MadeDataset = made): Promise<{ origin: Gate; mill: Millrace; dataset: Dataset<Columns> }> {
  const name = `ends-${gates++}`;
  const origin = gate(name);
  for (const [key, bytes] of from.objects) origin.objects.set(`set/${key}`, bytes);
  const mill = await open();
  const dataset = await mill.dataset(`gate://${name}/set`, { fields });
  origin.reads.length = 0;
  return { origin, mill, dataset };
}
async function local(...given: Parameters<typeof localDataset>): Promise<LocalDataset> {
  folders.push(await localDataset(...given));
  return folders.at(-1)!;
}
const turn = () => new Promise((resolve) => setTimeout(resolve, 2));
/** Until it holds: what is counted happens in turns of the event loop, never in a certain time. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await turn();
}
/** Of reads that were under way at an abort the slots come back when their I/O has ended, which nobody waits for. */
const working = (mill: Millrace) => mill.stats().memory!.workingBytes;
const keysOf = async (batches: AsyncIterable<Batch<Columns>>): Promise<string[]> => {
  const keys: string[] = [];
  for await (const batch of batches) keys.push(...batch.keys);
  return keys;
};
const allKeys = (dataset: Dataset<Columns>) => Array.from({ length: dataset.sampleCount }, (_, i) => dataset.key(i)).sort();

describe("memory", () => {
  test.each(["inline", "worker"] as const)(
    "is given back after break, throw, abort, a failed decode and a close, engine %s",
    async (engine) => {
      const { uri } = await local({ format: "tfrecord", samples: SAMPLES, shards: 4, bytesPerSample: 3_000 });
      const mill = await open({ engine });
      const dataset = await mill.dataset(uri, { fields });
      const load = (options = {}) => dataset.loader({ batchSize: 4, shuffle: { seed: 1 }, ...options });
      const broken = load();
      for await (const _ of broken.epoch(0)) break;
      await broken.close();
      await until(() => working(mill) === 0);
      const aborted = load();
      const abort = new AbortController();
      const loop = (async () => {
        for await (const _ of aborted.epoch(0, { signal: abort.signal })) abort.abort();
      })();
      await expect(loop).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
      await aborted.close();
      await until(() => working(mill) === 0);
      for (const workers of [0, 2]) {
        const failing = load({ decode: decoder, decodeArgs: { fail: 5 }, workers });
        await expect(keysOf(failing.epoch(0))).rejects.toMatchObject({ code: "MILLRACE_DECODE" });
        await failing.close();
        await until(() => working(mill) === 0);
      }
      const dying = load({ decode: decoder, decodeArgs: { exit: 5 }, workers: 2 });
      await expect(keysOf(dying.epoch(0))).rejects.toMatchObject({ code: "MILLRACE_DECODE" });
      await dying.close();
      await until(() => working(mill) === 0);
      const open1 = load().epoch(0)[Symbol.asyncIterator]();
      await open1.next();
      await mill.close();
      expect(working(mill)).toBe(0);
    },
  );
});

describe("two iterations of one loader", () => {
  test("begun at the same place: the second ends the first and gets every sample", async () => {
    const { dataset } = await gated();
    const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 1 } });
    const first = loader.epoch(0)[Symbol.asyncIterator]();
    const second = loader.epoch(0);
    const ended = first.next().then(
      () => first.next(),
      (error) => Promise.reject(error),
    );
    ended.catch(() => {});
    expect((await keysOf(second)).sort()).toEqual(allKeys(dataset));
    await expect(ended).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    await loader.close();
  });

  test("a run that is unwanted before its turn reads nothing", async () => {
    const { origin, mill, dataset } = await gated();
    const decodeArgs = { spin: made.samples[0]!.label };
    const loader = dataset.loader({ batchSize: 16, decode: decoder, decodeArgs, workers: 1 });
    const first = loader.epoch(0)[Symbol.asyncIterator]().next();
    first.catch(() => {});
    // The worker spins: it is ended some time after it was told to stop, and the second run waits for that.
    await until(() => origin.reads.length > 0 && (mill.stats().origin!.inFlight as number) === 0 && working(mill) !== 0);
    let before = origin.reads.length;
    for (let quiet = 0; quiet < 20; quiet++) {
      await turn();
      if (origin.reads.length !== before) quiet = 0;
      before = origin.reads.length;
    }
    const second = loader.epoch(1)[Symbol.asyncIterator]().next();
    second.catch(() => {});
    await expect(first).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    await loader.close();
    await expect(second).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    expect(origin.reads.length).toBe(before);
    expect(working(mill)).toBe(0);
  });
});

describe("an abort", () => {
  test("between the call and the first batch is heard", async () => {
    const { origin, dataset } = await gated();
    origin.hold();
    const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 1 } });
    const abort = new AbortController();
    const next = loader.epoch(0, { signal: abort.signal })[Symbol.asyncIterator]().next();
    abort.abort(new Error("at once"));
    await expect(next).rejects.toMatchObject({ code: "MILLRACE_ABORTED", cause: { message: "at once" } });
    origin.open();
    await loader.close();
  });

  test("of one loop leaves another that waits for the same bytes alone", async () => {
    const { origin, mill, dataset } = await gated();
    origin.hold();
    const loaders = [1, 2].map(() => dataset.loader({ batchSize: 16, shuffle: { seed: 1 } }));
    const abort = new AbortController();
    const lost = keysOf(loaders[0]!.epoch(0, { signal: abort.signal }));
    lost.catch(() => {});
    const kept = keysOf(loaders[1]!.epoch(0));
    await until(() => origin.waiting > 0 && (mill.stats().cache!.joined as number) > 0);
    abort.abort();
    await expect(lost).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    origin.open();
    expect((await kept).sort()).toEqual(allKeys(dataset));
    expect(new Set(origin.reads).size).toBe(origin.reads.length); // Nothing was read twice.
    await Promise.all(loaders.map((loader) => loader.close()));
    expect(working(mill)).toBe(0);
  });
});

describe("a close", () => {
  test("of the mill ends a loop that waits, with MILLRACE_CLOSED", async () => {
    const { origin, mill, dataset } = await gated();
    const loader = dataset.loader({ batchSize: 16, shuffle: { seed: 1 } });
    origin.hold();
    const loop = keysOf(loader.epoch(0));
    loop.catch(() => {});
    await until(() => origin.waiting > 0);
    await mill.close();
    await expect(loop).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    await loader.close();
  });

  test.each([0, 1])("ends a loader whose decoder never loads, %i workers", async (workers) => {
    const { dataset } = await gated();
    const never = {
      url: new URL("./fixtures/loader-never.ts", import.meta.url).href,
      output: { label: "int32" } as const,
      run: () => ({}),
    };
    const loader = dataset.loader({ batchSize: 16, decode: never, workers } as never);
    const next = loader.epoch(0)[Symbol.asyncIterator]().next();
    next.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    await loader.close();
    await expect(next).rejects.toMatchObject({ code: expect.stringMatching(/CLOSED|ABORTED/) });
  });

  test("of the mill ends a loader whose decoder never loads", async () => {
    const { mill, dataset } = await gated();
    const never = {
      url: new URL("./fixtures/loader-never.ts", import.meta.url).href,
      output: { label: "int32" } as const,
      run: () => ({}),
    };
    const next = dataset
      .loader({ batchSize: 16, decode: never, workers: 1 } as never)
      .epoch(0)
      [Symbol.asyncIterator]()
      .next();
    next.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 50));
    await mill.close();
    await expect(next).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    expect(process.getActiveResourcesInfo().filter((name) => name === "MessagePort" || name === "Worker")).toEqual([]);
  });

  test("an abort, too, ends a loader whose decoder never loads", async () => {
    const { dataset } = await gated();
    const never = {
      url: new URL("./fixtures/loader-never.ts", import.meta.url).href,
      output: { label: "int32" } as const,
      run: () => ({}),
    };
    const loader = dataset.loader({ batchSize: 16, decode: never, workers: 0 } as never);
    const abort = new AbortController();
    const next = loader.epoch(0, { signal: abort.signal })[Symbol.asyncIterator]().next();
    next.catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 20));
    abort.abort();
    await expect(next).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await loader.close();
  });
});

describe("an error in the middle of an epoch", () => {
  test.each(["inline", "worker"] as const)("comes after every batch before it, also to a loop that was busy, engine %s", async (engine) => {
    const { uri, made: whole } = await local({ format: "tfrecord", samples: SAMPLES, shards: 4, bytesPerSample: 3_000 });
    const mill = await open({ engine });
    const dataset = await mill.dataset(uri, { fields });
    const bad = whole.samples.findIndex(({ label }, i) => i >= 40 && label === 7);
    const view = dataset.select({ from: 0, to: bad + 1 }); // Ends with the sample that fails; those of its label before it are left out.
    const rows = Array.from({ length: bad + 1 }, (_, i) => i).filter((i) => i === bad || whole.samples[i]!.label !== 7);
    const loader = view.select(rows).loader({ batchSize: 8, decode: decoder, decodeArgs: { fail: 7 }, workers: 1 });
    const steps: number[] = [];
    const loop = (async () => {
      for await (const batch of loader.epoch(0)) {
        steps.push(batch.step);
        // Batches and error are all there before the loop goes on.
        if (batch.step === 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 400);
      }
    })();
    await expect(loop).rejects.toMatchObject({ code: "MILLRACE_DECODE", sample: { index: rows.length - 1 } });
    expect(steps).toEqual(Array.from({ length: loader.stepsPerEpoch - 1 }, (_, step) => step));
    expect(loader.state().position).toBe(steps.length * 8);
    await loader.close();
  });

  test("of the origin comes with its code; the loop can go on where it stood once the origin is well", async () => {
    const { origin, mill, dataset } = await gated();
    const loader = dataset.loader({ batchSize: 8, shuffle: { seed: 1, window: "64KiB" }, lanes: 2, readAhead: 0 });
    const whole = await keysOf(dataset.loader({ batchSize: 8, shuffle: { seed: 1, window: "64KiB" }, lanes: 2 }).epoch(0));
    const keys: string[] = [];
    const read = async () => {
      for (const epoch of loader.epochs(1)) for await (const batch of epoch) keys.push(...batch.keys);
    };
    let left = 12;
    origin.fail = () => (left-- > 0 ? undefined : new MillraceError("MILLRACE_PERMISSION", "the key was taken away"));
    const before = loader.stats();
    await expect(read()).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    expect(keys.length).toBeGreaterThan(0);
    expect(loader.state().position).toBe(keys.length);
    expect(loader.stats().batches - before.batches).toBe(keys.length / 8);
    origin.fail = () => undefined;
    await read();
    expect(keys).toEqual(whole);
    await loader.close();
    await until(() => working(mill) === 0);
  });

  test("a shard that is rewritten is MILLRACE_CHANGED, and no row of another version is delivered", async () => {
    const folder = await local({ format: "tfrecord", samples: SAMPLES, shards: 4, bytesPerSample: 3_000 });
    const mill = await open();
    const dataset = await mill.dataset(folder.uri, { fields });
    const loader = dataset.loader({ batchSize: 2, readAhead: 0, shuffle: { seed: 1, window: "64KiB" }, lanes: 1 });
    const hashes: string[] = [];
    const wanted: string[] = [];
    const loop = (async () => {
      for await (const { columns, indices, size, step } of loader.epoch(0)) {
        for (let row = 0; row < size; row++) hashes.push(sha256(columns.image.at(row)));
        for (const index of indices) wanted.push(folder.made.samples[index]!.sha256);
        if (step > 0) continue;
        const other = makeDataset({ format: "tfrecord", samples: SAMPLES, shards: 4, bytesPerSample: 3_000, seed: 2 });
        for (const [key, bytes] of other.objects) await writeFile(join(folder.folder, key), bytes);
      }
    })();
    await expect(loop).rejects.toMatchObject({ code: "MILLRACE_CHANGED" });
    expect(hashes.length).toBeGreaterThan(0);
    expect(hashes).toEqual(wanted);
    await loader.close();
    expect(working(mill)).toBe(0);
  });

  test("before the first batch: the figures still say what was read", async () => {
    const { dataset } = await gated();
    const loader = dataset.loader({ batchSize: 8, decode: decoder, decodeArgs: { fail: made.samples[0]!.label }, workers: 0 });
    await expect(keysOf(loader.epoch(0) as never)).rejects.toMatchObject({ code: "MILLRACE_DECODE" });
    expect(loader.stats()).toMatchObject({ batches: 0, samples: 0 });
    expect(loader.stats().bytes.origin).toBeGreaterThan(0);
    expect(loader.stats().originRequests).toBeGreaterThan(0);
    await loader.close();
  });

  test("the engine's thread ends: the loop gets MILLRACE_UNAVAILABLE, and everything can still be closed", async () => {
    const { uri } = await local({ format: "tfrecord", samples: SAMPLES, shards: 4, bytesPerSample: 3_000 });
    const mill = await open({ engine: "worker" });
    const dataset = await mill.dataset(uri, { fields });
    const loader = dataset.loader({ batchSize: 8, decode: decoder, decodeArgs: { exit: 7 }, workers: 0 });
    await expect(keysOf(loader.epoch(0) as never)).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE", message: /engine thread/ });
    await loader.close();
    await mill.close();
    await expect(mill.stat(uri)).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
  });

  test("values that cannot cross to the loop are MILLRACE_DECODE, whoever decodes", async () => {
    const { dataset } = await gated();
    const { default: json } = await import("../unit/engine/fixtures/decoders/json.js");
    for (const workers of [0, 1]) {
      const loader = dataset.loader({ batchSize: 8, decode: json, workers } as never);
      await expect(keysOf(loader.epoch(0) as never)).rejects.toMatchObject({ code: "MILLRACE_DECODE" });
      await loader.close();
    }
    const loader = dataset.loader({ batchSize: 8, decode: decoder, decodeArgs: { fail: () => 1 } as never, workers: 0 });
    await expect(keysOf(loader.epoch(0) as never)).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: /decodeArgs/ });
  });
});

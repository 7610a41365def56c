/** Whatever a run ends of, the budgets have everything back: the slab's slots, and the read-ahead that all loaders share. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Dataset, type Millrace, MillraceError, openMillrace } from "../../src/index.js";
import { type BudgetMember, ReadAheadBudget } from "../../src/readahead/budget.js";
import wicked from "../unit/engine/fixtures/decoders/wicked.js";
import { type Gate, gate } from "./fixtures/loader-gate.js";

const FILES = 60;
const DEADLY = 25;
const fields = { bytes: "bytes" } as const;

const members = new Set<BudgetMember>();
let budget: ReadAheadBudget | undefined;
let joined = 0;
beforeEach(() => {
  members.clear();
  joined = 0;
  budget = undefined;
  const { join, leave } = ReadAheadBudget.prototype;
  vi.spyOn(ReadAheadBudget.prototype, "join").mockImplementation(function (this: ReadAheadBudget, member) {
    budget = this;
    joined++;
    members.add(member);
    join.call(this, member);
  });
  vi.spyOn(ReadAheadBudget.prototype, "leave").mockImplementation(function (this: ReadAheadBudget, member) {
    members.delete(member);
    leave.call(this, member);
  });
});
const mills: Millrace[] = [];
afterEach(async () => {
  await Promise.all(mills.splice(0).map((mill) => mill.close()));
  vi.restoreAllMocks();
});

let gates = 0;
/** Files of text behind a gate; one of them ends the thread that decodes it. */
async function gated(): Promise<{ origin: Gate; mill: Millrace; dataset: Dataset<typeof fields> }> {
  const name = `budgets-${gates++}`;
  const origin = gate(name);
  for (let i = 0; i < FILES; i++)
    origin.objects.set(`set/a/${100 + i}.txt`, new TextEncoder().encode(i === DEADLY ? "exit" : `text ${i} `.repeat(1000)));
  const url = new URL("./fixtures/loader-gate.ts", import.meta.url);
  const mill = await openMillrace({ engine: "inline", stores: { gate: { url } }, cache: { memory: 0 } });
  mills.push(mill);
  const dataset = await mill.dataset(`gate://${name}/set`, { fields });
  origin.reads.length = 0;
  return { origin, mill, dataset };
}
/** Until it holds: what is counted happens in turns of the event loop, never in a certain time. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setTimeout(resolve, 2));
}
const left = (mill: Millrace) => ({ members: members.size, taken: budget!.takenBytes, working: mill.stats().memory!.workingBytes });
const NOTHING = { members: 0, taken: 0, working: 0 };

describe("a decode worker that dies in the middle of a batch", () => {
  test.each([1, 2])("fails the run, which gives everything back, also what was read ahead: %i workers", async (workers) => {
    const { mill, dataset } = await gated();
    const loader = dataset.loader({ batchSize: 8, decode: wicked, workers });
    let samples = 0;
    const epochs = async () => {
      for (const epoch of loader.epochs(3)) for await (const { size } of epoch) samples += size;
    };
    await expect(epochs()).rejects.toMatchObject({ code: "MILLRACE_DECODE", sample: { index: expect.any(Number) } });
    // The one that died was the fourth batch's worker; those before it came.
    expect(samples).toBe(24);
    expect(joined).toBe(1);
    await until(() => members.size === 0 && mill.stats().memory!.workingBytes === 0);
    expect(left(mill)).toEqual(NOTHING);
    await loader.close();
    expect(left(mill)).toEqual(NOTHING);
  });

  test("and whose sample may be skipped leaves nothing of the batch that it was on", async () => {
    const { mill, dataset } = await gated();
    const loader = dataset.loader({ batchSize: 8, decode: wicked, workers: 2, onError: "skip" });
    let samples = 0;
    for await (const { size } of loader.epoch(0)) samples += size;
    expect(samples).toBe(FILES - 1);
    await loader.close();
    expect(left(mill)).toEqual(NOTHING);
  });
});

describe("while read-ahead is in flight", () => {
  test.each(["loader", "mill"] as const)("a %s that is closed has nothing left in the budget", async (what) => {
    const { origin, mill, dataset } = await gated();
    origin.hold();
    const loader = dataset.loader({ batchSize: 2 });
    const [first, second] = loader.epochs(2);
    const batches = first![Symbol.asyncIterator]();
    const began = batches.next();
    // The first epoch is one piece, which the loop waits for; what is ahead is the second.
    await until(() => origin.waiting === FILES);
    origin.letThrough(FILES);
    await began;
    await until(() => origin.waiting > 0 && budget!.takenBytes > 0);
    for (let more = await batches.next(); more.done !== true; ) more = await batches.next();
    const next = second![Symbol.asyncIterator]().next();
    next.catch(() => {});
    expect(members.size).toBe(1);
    const [ended] = await Promise.allSettled([next, (what === "loader" ? loader : mill).close()]);
    expect(ended).toMatchObject({ status: "rejected", reason: { code: "MILLRACE_CLOSED" } });
    expect(origin.waiting).toBe(0);
    expect({ members: members.size, taken: budget!.takenBytes }).toEqual({ members: 0, taken: 0 });
  });

  test("a run that fails, and one that is closed before its turn, leave nothing in the budget", async () => {
    const { origin, mill, dataset } = await gated();
    origin.fail = (path) => (path.endsWith("/100.txt") ? new MillraceError("MILLRACE_CORRUPT", "bad") : undefined);
    const loader = dataset.loader({ batchSize: 2 });
    const [failed] = await Promise.allSettled([loader.epoch(0)[Symbol.asyncIterator]().next()]);
    expect(failed).toMatchObject({ status: "rejected", reason: { code: "MILLRACE_CORRUPT" } });
    expect(left(mill)).toEqual(NOTHING);
    origin.hold();
    // Iterated anew, the loader ends its first run, whose end the second awaits.
    const ended = Promise.allSettled([1, 2].map((epoch) => loader.epoch(epoch)[Symbol.asyncIterator]().next()));
    await until(() => joined === 3);
    await loader.close();
    expect(await ended).toMatchObject([{ reason: { code: "MILLRACE_CLOSED" } }, { reason: { code: "MILLRACE_CLOSED" } }]);
    expect(left(mill)).toEqual(NOTHING);
  });
});

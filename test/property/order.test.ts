import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { raggedChunks, uniformChunks } from "../../src/order/chunks.js";
import { EpochOrder } from "../../src/order/epoch-order.js";
import { permutation } from "../../src/order/prp.js";
import type { OrderSpec } from "../../src/order/spec.js";
import { stepPlan } from "../../src/order/steps.js";

const RUNS = { numRuns: 60 };
const seeds = fc.integer({ min: -(2 ** 40), max: 2 ** 40 });
const uniform = fc
  .record({ samples: fc.integer({ min: 1, max: 700 }), chunk: fc.integer({ min: 1, max: 60 }) })
  .map(({ samples, chunk }) => uniformChunks(samples, chunk));
/** Compressed shards of any sizes, empty ones among them. */
const ragged = fc
  .array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 30 })
  .filter((sizes) => sizes.some((size) => size > 0))
  .map((sizes) => {
    const starts = [0];
    for (const size of sizes) starts.push(starts.at(-1)! + size);
    return raggedChunks(Float64Array.from(starts));
  });
const specs: fc.Arbitrary<OrderSpec> = fc
  .record({
    mode: fc.constantFrom("window", "window", "window", "global", "sequential"),
    seed: seeds,
    lanes: fc.integer({ min: 1, max: 30 }),
    chunks: fc.oneof(uniform, ragged),
    windowChunks: fc.integer({ min: 1, max: 9 }),
  })
  .map((spec) => ({ ...spec, lanes: spec.mode === "window" ? spec.lanes : 1, id: "", windowBytes: 0, turnover: 0 }));

const orderOf = (order: EpochOrder) => Array.from({ length: order.sampleCount }, (_, position) => order.sampleAt(position));
const rising = (values: readonly number[]) => values.toSorted((a, b) => a - b);
const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

describe("permutation", () => {
  it("is undone by its inverse, whatever the size and key", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 2 ** 53 - 1 }),
        fc.array(seeds, { maxLength: 5 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (size, key, part) => {
          const p = permutation(size, key);
          const place = Math.floor(part * size);
          expect(p.at(place)).toBeLessThan(size);
          expect(p.indexOf(p.at(place))).toBe(place);
          expect(p.at(p.indexOf(place))).toBe(place);
        },
      ),
      { numRuns: 500 },
    );
  });
});

describe("EpochOrder", () => {
  it("holds every sample exactly once", () => {
    fc.assert(
      fc.property(specs, fc.nat(1000), (spec, epoch) => {
        expect(rising(orderOf(new EpochOrder(spec, epoch)))).toEqual(upTo(spec.chunks.sampleCount));
      }),
      RUNS,
    );
  });

  it("is the same whatever was asked before", () => {
    fc.assert(
      fc.property(specs, fc.array(fc.nat(10_000), { maxLength: 30 }), (spec, positions) => {
        const inOrder = orderOf(new EpochOrder(spec, 3));
        const jumping = new EpochOrder(spec, 3);
        for (const position of positions.map((p) => p % inOrder.length)) expect(jumping.sampleAt(position)).toBe(inOrder[position]);
      }),
      RUNS,
    );
  });

  it("agrees with its windows, whose pieces hold their samples and no others", () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const order = new EpochOrder(spec, 1);
        const positions: number[] = [];
        for (const window of order.windows(0)) {
          const samples: number[] = [];
          for (let i = 0; i < window.size; i++) {
            const sample = window.sampleAt(i);
            const position = window.firstPosition + i * window.lanes;
            expect(sample).toBe(order.sampleAt(position));
            const piece = window.pieces[window.pieceAt(i)]!;
            expect(sample >= piece.first && sample < piece.first + piece.count).toBe(true);
            positions.push(position);
            samples.push(sample);
          }
          expect(rising(samples)).toEqual(rising(window.pieces.flatMap(({ first, count }) => upTo(count).map((i) => first + i))));
        }
        expect(rising(positions)).toEqual(upTo(order.sampleCount));
      }),
      RUNS,
    );
  });

  it("gives windows by the position that needs them first", () => {
    fc.assert(
      fc.property(specs, (spec) => {
        const firsts = [...new EpochOrder(spec, 1).windows(0)].map((window) => window.firstPosition);
        expect(firsts).toEqual(rising(firsts));
      }),
      RUNS,
    );
  });

  it("gives from any position the windows that are not used up there, as the whole epoch has them", () => {
    fc.assert(
      fc.property(specs, fc.nat(100), (spec, percent) => {
        const order = new EpochOrder(spec, 1);
        const from = Math.floor((order.sampleCount * percent) / 100);
        const describeWindow = (w: { firstPosition: number; size: number; pieces: unknown }) =>
          JSON.stringify([w.firstPosition, w.size, w.pieces]);
        const needed = [...order.windows(0)].filter((w) => w.firstPosition + (w.size - 1) * w.lanes >= from);
        const resumed = [...order.windows(from)];
        expect(resumed.map(describeWindow).toSorted()).toEqual(needed.map(describeWindow).toSorted());
        const firstNeeded = resumed.map((w) => w.firstPosition + Math.max(0, Math.ceil((from - w.firstPosition) / w.lanes)) * w.lanes);
        expect(firstNeeded).toEqual(rising(firstNeeded));
      }),
      RUNS,
    );
  });

  it("opens at most windowChunks whole chunks a window, and no chunk in two windows of one lane", () => {
    fc.assert(
      fc.property(specs, (spec) => {
        fc.pre(spec.mode === "window");
        const seen = new Set<string>();
        for (const window of new EpochOrder(spec, 1).windows(0)) {
          expect(window.pieces.length).toBeLessThanOrEqual(spec.windowChunks);
          for (const { first, count } of window.pieces) {
            const chunk = spec.chunks.of(first);
            expect(spec.chunks.of(first + count - 1)).toBe(chunk);
            expect(seen.has(`${window.lane}:${chunk}`)).toBe(false);
            seen.add(`${window.lane}:${chunk}`);
          }
        }
      }),
      RUNS,
    );
  });

  it("changes with the seed and the epoch", () => {
    for (const mode of ["window", "global"] as const) {
      const spec = {
        mode,
        seed: 1,
        lanes: mode === "window" ? 4 : 1,
        chunks: uniformChunks(400, 7),
        windowChunks: 3,
        id: "",
        windowBytes: 0,
        turnover: 0,
      };
      const orders = [new EpochOrder(spec, 0), new EpochOrder(spec, 1), new EpochOrder({ ...spec, seed: 2 }, 0)].map((o) =>
        orderOf(o).join(),
      );
      expect(new Set(orders).size).toBe(3);
      expect(orderOf(new EpochOrder(spec, 0)).join()).toBe(orders[0]);
    }
  });

  it("seeks in a dataset of 10^12 samples", () => {
    const spec = {
      mode: "window",
      seed: 1,
      lanes: 24,
      chunks: uniformChunks(1e12 + 7, 1000),
      windowChunks: 2,
      id: "",
      windowBytes: 0,
      turnover: 0,
    } as const;
    const order = new EpochOrder(spec, 0);
    const from = 5e11 + 3;
    const [window] = order.windows(from);
    expect(window!.pieces.length).toBe(2);
    const i = (from - window!.firstPosition) / 24;
    expect(window!.sampleAt(i)).toBe(order.sampleAt(from));
  });
});

// ── ranks, steps and resuming: a small model of what the loader does ────────

interface Run {
  readonly order: (epoch: number) => EpochOrder;
  readonly sampleCount: number;
  readonly batchSize: number;
  readonly remainder: "drop" | "pad" | "keep";
}
interface Place {
  readonly epoch: number;
  readonly position: number;
}
type GlobalBatch = { readonly epoch: number; readonly samples: readonly number[] };

/** What all ranks together receive from a place on, a global step at a time, and where each step leaves the run. */
function* globalSteps(run: Run, worldSize: number, start: Place, until: number): Generator<GlobalBatch & { readonly after: Place }> {
  let { epoch, position } = start;
  for (; epoch < until; epoch++, position = 0) {
    const order = run.order(epoch);
    const plans = Array.from({ length: worldSize }, (_, rank) => stepPlan({ ...run, worldSize, rank, fromPosition: position }));
    for (let step = plans[0]!.firstStep; step < plans[0]!.steps; step++) {
      const rows = plans.flatMap((plan) => (step < plan.steps ? upTo(plan.rows(step).size).map((i) => plan.row(step, i).position) : []));
      const { position: next, nextEpoch } = plans[0]!.nextPosition(step);
      const after = nextEpoch ? { epoch: epoch + 1, position: 0 } : { epoch, position: next };
      yield { epoch, samples: rising(rows).map((p) => order.sampleAt(p)), after };
    }
  }
}
const runOf = (spec: OrderSpec, batchSize: number, remainder: Run["remainder"]): Run => ({
  order: (epoch) => new EpochOrder(spec, epoch),
  sampleCount: spec.chunks.sampleCount,
  batchSize,
  remainder,
});
const samplesOf = (steps: Iterable<GlobalBatch>) => [...steps].flatMap(({ samples }) => samples);
const small: fc.Arbitrary<OrderSpec> = specs.filter((spec) => spec.chunks.sampleCount <= 300);

describe("ranks", () => {
  it("are disjoint and complete, and have equal steps where they must", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 300 }),
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 1, max: 24 }),
        fc.constantFrom("drop", "pad", "keep"),
        (sampleCount, batchSize, worldSize, remainder) => {
          const plans = upTo(worldSize).map((rank) => stepPlan({ sampleCount, batchSize, worldSize, rank, remainder, fromPosition: 0 }));
          const rows = plans.flatMap((plan) =>
            upTo(plan.steps).flatMap((step) => {
              const { size, padding } = plan.rows(step);
              expect(size + padding).toBeLessThanOrEqual(batchSize);
              if (remainder !== "keep") expect(size + padding).toBe(batchSize);
              const all = upTo(size + padding).map((i) => plan.row(step, i));
              expect(all.map((row) => row.padding)).toEqual(all.map((_, i) => i >= size));
              for (const { position } of all) expect(position >= 0 && position < sampleCount).toBe(true);
              return all.slice(0, size).map((row) => row.position);
            }),
          );
          const stride = batchSize * worldSize;
          expect(rising(rows)).toEqual(upTo(remainder === "drop" ? Math.floor(sampleCount / stride) * stride : sampleCount));
          const steps = plans.map((plan) => plan.steps);
          expect(Math.max(...steps) - Math.min(...steps)).toBeLessThanOrEqual(remainder === "keep" ? 1 : 0);
        },
      ),
      { numRuns: 200 },
    );
  });

  it("give the same global order for every worldSize from 1 to 24, dividing the lanes or not", () => {
    fc.assert(
      fc.property(small, (spec) => {
        const run = runOf(spec, 2, "keep");
        const alone = samplesOf(globalSteps(run, 1, { epoch: 0, position: 0 }, 1));
        for (let worldSize = 2; worldSize <= 24; worldSize++)
          expect(samplesOf(globalSteps(run, worldSize, { epoch: 0, position: 0 }, 1))).toEqual(alone);
      }),
      { numRuns: 10 },
    );
  });
});

describe("resuming", () => {
  it("after any step, twice over, across an epoch's boundary, equals going on", () => {
    fc.assert(
      fc.property(
        small,
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 5 }),
        fc.constantFrom("drop", "pad", "keep"),
        (spec, batchSize, worldSize, remainder) => {
          const run = runOf(spec, batchSize, remainder);
          const whole = [...globalSteps(run, worldSize, { epoch: 0, position: 0 }, 3)];
          for (const [k, { after }] of whole.entries()) {
            if (k % 7 !== 0 && k < whole.length - 3) continue; // every step of a long run would take long
            const resumed = [...globalSteps(run, worldSize, after, 3)];
            expect(resumed).toEqual(whole.slice(k + 1));
            const again = resumed[Math.floor(resumed.length / 2)];
            if (again !== undefined)
              expect([...globalSteps(run, worldSize, again.after, 3)]).toEqual(whole.slice(k + 1 + Math.floor(resumed.length / 2) + 1));
          }
        },
      ),
      { numRuns: 25 },
    );
  });

  it("after every single step of one small run equals going on", () => {
    const spec = {
      mode: "window",
      seed: 5,
      lanes: 4,
      chunks: uniformChunks(101, 6),
      windowChunks: 2,
      id: "",
      windowBytes: 0,
      turnover: 0,
    } as const;
    const run = runOf(spec, 3, "keep");
    const whole = [...globalSteps(run, 2, { epoch: 0, position: 0 }, 2)];
    expect(whole.length).toBe(34);
    for (const [k, { after }] of whole.entries()) expect([...globalSteps(run, 2, after, 2)]).toEqual(whole.slice(k + 1));
  });

  it("from 8 ranks to 4, and from any number to any other, keeps the order and loses no sample", () => {
    fc.assert(
      fc.property(small, fc.integer({ min: 1, max: 24 }), fc.integer({ min: 1, max: 24 }), fc.nat(50), (spec, before, after, stop) => {
        for (const [a, b] of [
          [8, 4],
          [before, after],
        ] as const) {
          const run = runOf(spec, 2, "keep");
          const alone = samplesOf(globalSteps(run, 1, { epoch: 0, position: 0 }, 2));
          const steps = [...globalSteps(run, a, { epoch: 0, position: 0 }, 2)];
          const done = steps.slice(0, 1 + (stop % steps.length));
          expect([...samplesOf(done), ...samplesOf(globalSteps(run, b, done.at(-1)!.after, 2))]).toEqual(alone);
        }
      }),
      { numRuns: 25 },
    );
  });
});

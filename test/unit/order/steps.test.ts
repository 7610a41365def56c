import { describe, expect, it } from "vitest";
import { type StepOptions, stepPlan } from "../../../src/order/steps.js";

const plan = (options: Partial<StepOptions>) =>
  stepPlan({ sampleCount: 100, batchSize: 4, worldSize: 3, rank: 0, remainder: "keep", fromPosition: 0, ...options });

describe("stepPlan", () => {
  it("gives rank r every worldSize-th position from the r-th", () => {
    const second = plan({ rank: 2 });
    expect([0, 1, 2, 3].map((i) => second.row(1, i))).toEqual([14, 17, 20, 23].map((position) => ({ position, padding: false })));
  });

  it("drops, pads or keeps what is left over", () => {
    const steps = (remainder: StepOptions["remainder"]) => [0, 1, 2].map((rank) => plan({ rank, remainder, sampleCount: 97 }).steps);
    expect(steps("drop")).toEqual([8, 8, 8]);
    expect(steps("pad")).toEqual([9, 9, 9]);
    expect(steps("keep")).toEqual([9, 8, 8]); // position 96 is rank 0's
    expect(plan({ remainder: "keep", sampleCount: 97 }).rows(8)).toEqual({ size: 1, padding: 0 });
    expect(plan({ remainder: "pad", sampleCount: 97 }).rows(8)).toEqual({ size: 1, padding: 3 });
    expect(plan({ remainder: "pad", sampleCount: 97, rank: 1 }).rows(8)).toEqual({ size: 0, padding: 4 });
  });

  it("pads with positions from the epoch's start, again and again if the epoch is short", () => {
    const rank1 = plan({ remainder: "pad", sampleCount: 2, rank: 1 });
    expect(rank1.steps).toBe(1);
    expect([0, 1, 2, 3].map((i) => rank1.row(0, i))).toEqual([
      { position: 1, padding: false },
      { position: 0, padding: true },
      { position: 1, padding: true },
      { position: 0, padding: true },
    ]);
    expect(plan({ remainder: "drop", sampleCount: 2 }).steps).toBe(0);
    expect([0, 1, 2].map((rank) => plan({ sampleCount: 2, rank }).steps)).toEqual([1, 1, 0]);
    expect(plan({ sampleCount: 0, remainder: "pad" }).steps).toBe(0);
  });

  it("numbers the steps of a resumed epoch from the epoch's start", () => {
    const whole = plan({ rank: 1 });
    const resumed = plan({ rank: 1, fromPosition: 36 });
    expect(resumed.firstStep).toBe(3);
    expect(resumed.steps).toBe(whole.steps);
    for (let step = 3; step < whole.steps; step++) {
      expect(resumed.rows(step)).toEqual(whole.rows(step));
      expect(resumed.row(step, 0)).toEqual(whole.row(step, 0));
      expect(resumed.nextPosition(step)).toEqual(whole.nextPosition(step));
    }
  });

  it("goes on from a position that is no multiple of its own step, as another number of ranks leaves it", () => {
    const resumed = plan({ fromPosition: 32 }); // 4 × 8 ranks before
    expect(resumed.firstStep).toBe(2);
    expect(resumed.row(2, 0)).toEqual({ position: 32, padding: false });
    expect(resumed.nextPosition(2)).toEqual({ position: 44, nextEpoch: false });
    expect(resumed.steps).toBe(2 + 6);
  });

  it("ends at stepsPerEpoch", () => {
    const cut = plan({ stepsPerEpoch: 5 });
    expect(cut.steps).toBe(5);
    expect(cut.nextPosition(3)).toEqual({ position: 48, nextEpoch: false });
    expect(cut.nextPosition(4)).toEqual({ position: 0, nextEpoch: true });
    expect(plan({ stepsPerEpoch: 5, fromPosition: 36 })).toMatchObject({ steps: 5, firstStep: 3 });
    expect(plan({ stepsPerEpoch: 2, fromPosition: 36 })).toMatchObject({ steps: 3, firstStep: 3 }); // none left
    expect(plan({ stepsPerEpoch: 1000 }).steps).toBe(9);
  });

  it("says the same position after a step on every rank, though one may have no further step itself", () => {
    const [long, short] = [plan({ sampleCount: 97, rank: 0 }), plan({ sampleCount: 97, rank: 1 })];
    expect(short.steps).toBe(8);
    expect(short.nextPosition(7)).toEqual({ position: 96, nextEpoch: false });
    expect(long.nextPosition(7)).toEqual({ position: 96, nextEpoch: false });
    expect(long.nextPosition(8)).toEqual({ position: 0, nextEpoch: true });
  });

  it("after the last step stands at the next epoch, also where samples are dropped", () => {
    const dropped = plan({ remainder: "drop" });
    expect(dropped.steps).toBe(8);
    expect(dropped.nextPosition(7)).toEqual({ position: 0, nextEpoch: true });
    expect(plan({ remainder: "pad" }).nextPosition(8)).toEqual({ position: 0, nextEpoch: true });
  });

  it("refuses ranks, sizes and positions that make no sense", () => {
    const codeOf = (options: Partial<StepOptions>) => {
      try {
        plan(options);
      } catch (error) {
        return `${(error as { code: string }).code} ${(error as Error).message.split(":")[0]}`;
      }
      return undefined;
    };
    expect(codeOf({ batchSize: 0 })).toBe("MILLRACE_CONFIG batchSize");
    expect(codeOf({ batchSize: 1.5 })).toBe("MILLRACE_CONFIG batchSize");
    expect(codeOf({ worldSize: 0 })).toBe("MILLRACE_CONFIG worldSize");
    expect(codeOf({ rank: 3 })).toBe("MILLRACE_CONFIG rank");
    expect(codeOf({ rank: -1 })).toBe("MILLRACE_CONFIG rank");
    expect(codeOf({ fromPosition: 101 })).toBe("MILLRACE_RESUME resume");
    expect(codeOf({ fromPosition: -1 })).toBe("MILLRACE_RESUME resume");
  });
});

import { expect, test } from "vitest";
import { type BudgetMember, ReadAheadBudget } from "../../../src/readahead/budget.js";
import type { Pressure } from "../../../src/readahead/depth.js";

const MIB = 2 ** 20;

class Member implements BudgetMember {
  aheadBytes = 0;
  readonly presses: Pressure[] = [];
  pumps = 0;
  readonly #budget: ReadAheadBudget;

  constructor(budget: ReadAheadBudget) {
    this.#budget = budget;
    budget.join(this);
  }

  take(mib: number): boolean {
    const taken = this.#budget.take(this, mib * MIB);
    if (taken) this.aheadBytes += mib * MIB;
    return taken;
  }

  give(mib: number): void {
    this.aheadBytes -= mib * MIB;
    this.#budget.give(mib * MIB);
  }

  press(by: Pressure): void {
    this.presses.push(by);
  }

  pump(): void {
    this.pumps++;
  }
}

const roomy = (limitMib: number) => new ReadAheadBudget({ limitBytes: limitMib * MIB, usedBytes: () => 0 });

test.each([
  [256, 64],
  [1024, 128],
  [65_536, 512],
])("of %i MiB of memory, %i MiB are for read-ahead", (limit, budget) => {
  expect(roomy(limit).totalBytes).toBe(budget * MIB);
});

test("refuses what is over, asks those with more than a fair share to make do with less, and pumps who was refused when there is room", () => {
  const budget = roomy(512);
  const [greedy, modest] = [new Member(budget), new Member(budget)];
  expect([greedy.take(50), modest.take(8), modest.take(8)]).toEqual([true, true, false]);
  expect([greedy.presses, modest.presses]).toEqual([["budget"], []]);
  expect(modest.take(7)).toBe(false); // asked again before there was room: nobody is pressed twice for it
  expect(greedy.presses).toHaveLength(1);
  greedy.give(10);
  expect([modest.pumps, greedy.pumps]).toEqual([1, 0]);
  expect(modest.take(8)).toBe(true);
  expect(budget.takenBytes).toBe(56 * MIB);
});

test("one who has nothing ahead always gets its one unit", () => {
  const budget = roomy(512);
  const [first, second] = [new Member(budget), new Member(budget)];
  expect([first.take(64), second.take(32), second.take(1)]).toEqual([true, true, false]);
  expect(budget.takenBytes).toBe(96 * MIB);
});

test("one who left is neither pressed nor pumped", () => {
  const budget = roomy(512);
  const [first, second] = [new Member(budget), new Member(budget)];
  first.take(60);
  second.take(1);
  second.take(10);
  budget.leave(first);
  budget.leave(second);
  first.give(60);
  expect([first.presses, second.pumps]).toEqual([["budget"], 0]);
});

test("when the process's memory runs short nothing more is read ahead, all are pressed, and it goes on when there is memory again", () => {
  let used = 0;
  const budget = new ReadAheadBudget({ limitBytes: 4096 * MIB, usedBytes: () => used });
  const [first, second] = [new Member(budget), new Member(budget)];
  expect([first.take(32), second.take(8), first.take(32)]).toEqual([true, true, true]);
  used = 4000 * MIB;
  expect([first.take(32), first.take(32)]).toEqual([false, false]); // looked at once in 64 MiB
  expect([first.presses, second.presses]).toEqual([["memory"], ["memory"]]);
  expect(second.take(1)).toBe(false);
  used = 1000 * MIB;
  first.give(32);
  expect([first.pumps, second.pumps]).toEqual([1, 1]);
  expect(second.take(1)).toBe(true);
});

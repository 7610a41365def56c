import { expect, test } from "vitest";
import { Tally } from "../../../bench/lib/subject.js";
import { figure, summarise, table } from "../../../bench/lib/summary.js";

const measured = (samples: number, wallSeconds: number) => ({
  samples,
  bytes: samples * 1e6,
  firstWords: 0,
  wallSeconds,
  cpuSeconds: wallSeconds / 2,
});

test("medians and spread", () => {
  expect(figure([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  expect(figure([4, 1, 2, 3])).toEqual({ median: 2.5, min: 1, max: 4 });
});

test("rates and ratios are of medians, against the baseline's phase", () => {
  const runs = new Map([
    ["ceiling", new Map([["cold", [measured(1000, 1), measured(1000, 2), measured(1000, 1)]]])],
    [
      "mine",
      new Map([
        ["cold", [measured(1000, 2)]],
        ["warm", [measured(1000, 0.5)]],
      ]),
    ],
  ]);
  const baseline = { subject: "ceiling", phase: "cold" };
  const rows = summarise(runs, baseline);
  expect(rows.map(({ subject, phase, ratio, rounds }) => [subject, phase, ratio, rounds])).toEqual([
    ["ceiling", "cold", 1, 3],
    ["mine", "cold", 0.5, 1],
    ["mine", "warm", 2, 1],
  ]);
  expect(rows[0]!.cpuSecondsPerGigabyte).toEqual({ median: 0.5, min: 0.5, max: 1 });
  expect(table(rows, baseline).split("\n")[4]).toBe("mine     warm   2000 (2000–2000)  2.00 (2.00–2.00)  0.25 (0.25–0.25)  2.00");
});

test("a tally knows its samples by their first words", () => {
  const tally = new Tally();
  tally.add(Uint8Array.of(0, 0, 1, 2, 3, 4, 5), 2, 7);
  expect([tally.samples, tally.bytes, tally.firstWords]).toEqual([1, 5, 0x04030201]);
});

import { expect, test } from "vitest";
import { charts, terminalTable, withResults } from "../../../bench/lib/report.js";
import type { Scenario } from "../../../bench/lib/scenario.js";
import { measure, Tally } from "../../../bench/lib/subject.js";
import { spread, summarise } from "../../../bench/lib/summary.js";

const scenario: Scenario = {
  name: "race",
  title: "Two runners",
  rounds: 3,
  columns: [{ figure: "rate", title: "samples/s", digits: 1, chart: true }],
  bars: [
    { name: "mine ÷ ceiling", atLeast: 0.6, value: (of) => of("mine", "cold", "rate") / of("ceiling", "cold", "rate") },
    { name: "seconds", atMost: 3, value: (of) => of("mine", "cold", "seconds") },
  ],
  prepare: () => Promise.reject(new Error("not here")),
};
const runs = new Map([
  ["ceiling", [{ cold: { rate: 100, seconds: 1 } }, { cold: { rate: 50, seconds: 1 } }, { cold: { rate: 100, seconds: 1 } }]],
  ["mine", [{ cold: { rate: 50, seconds: 2 } }, { cold: { rate: 40, seconds: 2 } }]],
]);
const machine = { cpu: "a cpu", cores: 2, node: "v20" };

test("medians and spread", () => {
  expect(spread([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
  expect(spread([4, 1, 2, 3])).toEqual({ median: 2.5, min: 1, max: 4 });
});

test("a bar is the ratio of medians; its spread is that of single rounds, the last one standing in for those a subject lacks", () => {
  const { rows, bars } = summarise(scenario, runs, machine);
  expect(rows.map(({ subject, phase, rounds }) => [subject, phase, rounds])).toEqual([
    ["ceiling", "cold", 3],
    ["mine", "cold", 2],
  ]);
  expect(rows[0]!.figures.rate).toEqual({ median: 100, min: 50, max: 100 });
  expect(bars.map(({ value, met }) => [value, met])).toEqual([
    [{ median: 0.45, min: 0.4, max: 0.8 }, false],
    [{ median: 2, min: 2, max: 2 }, true],
  ]);
});

test("a figure that nobody reported fails the summary by name", () => {
  const wrong = {
    ...scenario,
    bars: [{ name: "x", value: (of: (...path: [string, string, string]) => number) => of("mine", "warm", "rate") }],
  };
  expect(() => summarise(wrong, runs, machine)).toThrow("No figure mine, warm, rate");
});

test("results stand between the marks of the page, with their charts, and in the terminal", () => {
  const summary = summarise(scenario, runs, machine);
  const marks = ["<!-- results: begin, written by `npm run bench` -->", "<!-- results: end -->"];
  const page = withResults(`before\n${marks[0]}\nof last week\n${marks[1]}\nafter\n`, [summary]);
  expect(page).toMatch(/^before\n/);
  expect(page).toMatch(/\nafter\n$/);
  expect(page).not.toContain("of last week");
  expect(page).toContain("| mine | cold | 45.0 (40.0–50.0) |");
  expect(page).toContain("| mine ÷ ceiling | ≥ 0.6 | 0.450 (0.400–0.800) | NOT MET |");
  expect(page).toContain("![Two runners: samples/s](../bench/results/race-rate.svg)");
  expect(terminalTable(summary)).toContain("seconds         ≤ 3    2.000                met");
  expect(() => withResults("no marks", [summary])).toThrow("marks");
  const [[file, svg]] = [...charts(summary)] as [[string, string]];
  expect(file).toBe("race-rate.svg");
  expect(svg).toMatch(/^<svg /);
  expect(svg).toContain(">mine<");
});

test("a phase that reads reports counts and rates", async () => {
  const figures = await measure(() => Promise.resolve({ samples: 10, bytes: 2e9, firstWords: 7 }));
  expect(figures).toMatchObject({ samples: 10, bytes: 2e9, firstWords: 7 });
  expect(figures.gigabytesPerSecond! * figures.wallSeconds!).toBeCloseTo(2, 9);
  expect(figures.cpuSecondsPerGigabyte).toBeCloseTo(figures.cpuSeconds! / 2, 9);
});

test("a tally knows its samples by their first words", () => {
  const tally = new Tally();
  tally.add(Uint8Array.of(0, 0, 1, 2, 3, 4, 5), 2, 7);
  expect([tally.samples, tally.bytes, tally.firstWords]).toEqual([1, 5, 0x04030201]);
});

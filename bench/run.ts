/**
 * Runs the scenarios: each subject in a process of its own, subjects interleaved in rounds so that a change of the
 * machine's mood meets them all, medians and spread over the rounds.
 *
 *   npm run bench [-- first-epochs] [--rounds 5] [--smoke]
 *
 * `--smoke` runs each scenario once and small, and holds the counts only: it says nothing about speed.
 */
import { execFile } from "node:child_process";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { availableParallelism, cpus } from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs, promisify } from "node:util";
import type { Measurement, Phases, PreparedScenario, Scenario, Subject } from "./lib/scenario.js";
import { summarise, table } from "./lib/summary.js";

const DEFAULT_ROUNDS = 5;
/** A subject that hangs must not hang the bench, milliseconds. */
const SUBJECT_LIMIT_MS = 300_000;
const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
const run = promisify(execFile);

type Runs = Map<string, Map<string, Measurement[]>>;

async function runSubject(subject: Subject): Promise<Phases> {
  const parameters = ["--expose-gc", "--import", TSX, fileURLToPath(subject.script), JSON.stringify(subject.parameters)];
  const { stdout } = await run(process.execPath, parameters, { timeout: SUBJECT_LIMIT_MS, maxBuffer: 2 ** 26 });
  const phases = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as Phases;
  for (const [phase, measured] of Object.entries(phases)) {
    for (const name of ["samples", "bytes", "firstWords"] as const) {
      if (measured[name] !== subject.expected[name])
        throw new Error(`${subject.name}, ${phase}: ${name} is ${measured[name]}, and should be ${subject.expected[name]}`);
    }
  }
  return phases;
}

async function measureRounds(prepared: PreparedScenario, rounds: number): Promise<Runs> {
  const runs: Runs = new Map();
  for (let round = 0; round < rounds; round++) {
    for (const subject of prepared.subjects) {
      await prepared.reset();
      for (const [phase, measured] of Object.entries(await runSubject(subject))) {
        const phases = runs.get(subject.name) ?? new Map<string, Measurement[]>();
        runs.set(subject.name, phases);
        phases.set(phase, [...(phases.get(phase) ?? []), measured]);
      }
    }
  }
  return runs;
}

async function runScenario(scenario: Scenario, smoke: boolean, rounds: number): Promise<void> {
  console.log(`\n${scenario.name}: ${scenario.title}`);
  const prepared = await scenario.prepare({ smoke });
  try {
    const runs = await measureRounds(prepared, rounds);
    if (smoke) {
      for (const [subject, phases] of runs) console.log(`  ${subject}: ${[...phases.keys()].join(", ")}: counts are right`);
      return;
    }
    const rows = summarise(runs, scenario.baseline);
    console.log(table(rows, scenario.baseline));
    const machine = { cpu: cpus()[0]?.model, cores: availableParallelism(), node: process.version };
    const results = new URL("./results/", import.meta.url);
    await mkdir(results, { recursive: true });
    await writeFile(
      new URL(`${scenario.name}.json`, results),
      `${JSON.stringify({ scenario: scenario.name, machine, rows }, undefined, 2)}\n`,
    );
  } finally {
    await prepared.close();
  }
}

async function main(): Promise<void> {
  const options = { smoke: { type: "boolean", default: false }, rounds: { type: "string", default: String(DEFAULT_ROUNDS) } } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const folder = new URL("./scenario/", import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith(".ts")).map((name) => name.slice(0, -3));
  const unknown = positionals.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`There is no scenario ${unknown}; there are: ${names.join(", ")}`);
  for (const name of names) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const { scenario } = (await import(new URL(`${name}.ts`, folder).href)) as { scenario: Scenario };
    await runScenario(scenario, values.smoke, values.smoke ? 1 : Number(values.rounds));
  }
}

await main();

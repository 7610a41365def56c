/**
 * Runs the scenarios: each subject in a process of its own, subjects interleaved in rounds so that a change of the
 * machine's mood meets them all, medians and spread over the rounds. Writes bench/results/ and the tables of docs/benchmarks.md.
 *
 *   npm run bench [-- epochs …] [--rounds 5] [--long] [--smoke]
 *
 * `--long` runs the whole matrix of a scenario, and those that else run only where they are named (cluster). `--smoke` runs each scenario once and small, and holds the counts only: it says
 * nothing about speed, and writes nothing.
 */
import { execFile } from "node:child_process";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { availableParallelism, cpus } from "node:os";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs, promisify } from "node:util";
import { charts, terminalTable, withResults } from "./lib/report.js";
import type { Phases, PreparedScenario, Scenario, Subject } from "./lib/scenario.js";
import { type Runs, type Summary, summarise } from "./lib/summary.js";

/** A subject that hangs must not hang the bench, milliseconds. */
const SUBJECT_LIMIT_MS = 300_000;
const TSX = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;
const RESULTS = new URL("./results/", import.meta.url);
const PAGE = new URL("../docs/benchmarks.md", import.meta.url);
const run = promisify(execFile);

async function runSubject(subject: Subject): Promise<Phases> {
  const path = fileURLToPath(subject.script);
  const loader = path.endsWith(".ts") ? ["--import", TSX] : [];
  const parameters = ["--expose-gc", ...loader, path, JSON.stringify(subject.parameters)];
  // What Node and packages warn of is the same for every subject; what a subject says for itself is passed on.
  const env = { ...process.env, NODE_NO_WARNINGS: "1", ...subject.env };
  const { stdout, stderr } = await run(process.execPath, parameters, { env, timeout: SUBJECT_LIMIT_MS, maxBuffer: 2 ** 26 });
  if (stderr !== "") console.error(stderr.trimEnd().replaceAll(/^/gm, "    "));
  const phases = JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as Phases;
  for (const phase of new Set([...Object.keys(phases), ...Object.keys(subject.expectedIn ?? {})])) {
    for (const [name, value] of Object.entries({ ...subject.expected, ...subject.expectedIn?.[phase] })) {
      const measured = phases[phase]?.[name];
      if (measured !== value) throw new Error(`${subject.name}, ${phase}: ${name} is ${measured}, and should be ${value}`);
    }
  }
  return phases;
}

async function runRounds(prepared: PreparedScenario, rounds: number): Promise<Runs> {
  const runs = new Map<string, Phases[]>(prepared.subjects.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const subject of prepared.subjects) {
      if (round >= (subject.rounds ?? rounds)) continue;
      const begin = performance.now();
      await prepared.reset?.(subject);
      const phases = await runSubject(subject);
      const observed = await prepared.observe?.(subject);
      runs.get(subject.name)!.push(observed === undefined ? phases : { ...phases, origin: observed });
      console.error(`  round ${round + 1} of ${rounds}: ${subject.name}, ${((performance.now() - begin) / 1000).toFixed(1)} s`);
    }
  }
  return runs;
}

interface Options {
  readonly smoke: boolean;
  readonly long: boolean;
  readonly rounds: number | undefined;
}

async function runScenario(scenario: Scenario, { smoke, long, rounds }: Options): Promise<void> {
  console.log(`\n${scenario.name}: ${scenario.title}`);
  const prepared = await scenario.prepare({ smoke, long });
  try {
    const runs = await runRounds(prepared, smoke ? 1 : (rounds ?? scenario.rounds));
    const machine = { cpu: cpus()[0]?.model ?? "unknown", cores: availableParallelism(), node: process.version };
    // Smoke runs are no measure of a bar, and may leave out what it needs.
    const summary = summarise(smoke ? { ...scenario, bars: [] } : scenario, runs, machine);
    if (smoke) {
      for (const { subject, phase } of summary.rows) console.log(`  ${subject}, ${phase}: counts are right`);
      return;
    }
    console.log(`\n${terminalTable(summary)}`);
    await writeFile(new URL(`${scenario.name}.json`, RESULTS), `${JSON.stringify(summary, undefined, 2)}\n`);
    for (const [file, svg] of charts(summary)) await writeFile(new URL(file, RESULTS), svg);
  } finally {
    await prepared.close();
  }
}

/** Brings the tables of docs/benchmarks.md in line with all results that there are. */
async function writePage(names: readonly string[]): Promise<void> {
  const files = new Set(await readdir(RESULTS));
  const summaries: Summary[] = [];
  for (const name of names)
    if (files.has(`${name}.json`)) summaries.push(JSON.parse(await readFile(new URL(`${name}.json`, RESULTS), "utf8")) as Summary);
  await writeFile(PAGE, withResults(await readFile(PAGE, "utf8"), summaries));
}

async function main(): Promise<void> {
  const options = {
    smoke: { type: "boolean", default: false },
    long: { type: "boolean", default: false },
    rounds: { type: "string" },
  } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const folder = new URL("./scenario/", import.meta.url);
  const names = (await readdir(folder)).filter((name) => name.endsWith(".ts")).map((name) => name.slice(0, -3));
  const unknown = positionals.find((name) => !names.includes(name));
  if (unknown !== undefined) throw new Error(`There is no scenario ${unknown}; there are: ${names.join(", ")}`);
  const rounds = values.rounds === undefined ? undefined : Number(values.rounds);
  if (rounds !== undefined && !(Number.isInteger(rounds) && rounds > 0))
    throw new Error(`--rounds: expected a whole number, got ${values.rounds}`);
  await mkdir(RESULTS, { recursive: true });
  for (const name of names) {
    if (positionals.length > 0 && !positionals.includes(name)) continue;
    const { scenario } = (await import(new URL(`${name}.ts`, folder).href)) as { scenario: Scenario };
    if (scenario.byNameOnly && positionals.length === 0 && !values.smoke && !values.long) continue;
    await runScenario(scenario, { smoke: values.smoke, long: values.long, rounds });
  }
  if (!values.smoke) await writePage(names);
}

await main();

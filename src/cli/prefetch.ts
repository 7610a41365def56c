import { type Millrace, type MillraceOptions, openMillrace, type PrefetchReport, type Progress } from "../index.js";
import { formatBytes } from "../util/byte-size.js";
import { checkMembers, openAsking } from "./asking.js";
import type { Command, Console } from "./command.js";
import { consoleLogger } from "./log.js";
import { UsageError } from "./usage.js";

/** Lines of progress, milliseconds apart: a log is read later. */
const TELL_EVERY_MS = 5_000;
/** Failures written out; all are counted, and all are in the JSON. */
const MOST_FAILURES = 20;

export const prefetch: Command = {
  summary: "fill the caches with data before it is needed",
  parameters: "<source>...",
  help: [
    "A source is a path below a mount or a URI: a prefix, an object, a brace pattern or a glob.",
    "--scope cluster   every node loads what it owns (default where the configuration has peers)",
    "--scope process   fills the cache directories of the configuration from this process",
    "--part i/n        of a prefix, the i-th (from 0) of n parts: object k belongs to part k mod n",
    "--priority n      among prefetches, higher goes first",
    "Exits with 1 where something could not be loaded.",
  ],
  flags: { scope: { type: "string" }, part: { type: "string" }, priority: { type: "string" } },
  takes: { least: 1, most: Number.POSITIVE_INFINITY },

  async run({ options, positionals, values, json, console }) {
    const scope = scopeOf(values.scope, options);
    const part = values.part === undefined ? undefined : parsePart(String(values.part));
    const priority = values.priority === undefined ? undefined : parsePriority(String(values.priority));
    await using mill = await open(options, scope, console);
    const source = part === undefined ? positionals : await objectsOf(mill, positionals, part);
    if (source.length === 0) return tell({ objects: 0, bytes: 0, alreadyCached: 0, failures: [] }, json, console);
    const onProgress = json ? undefined : teller(console);
    return tell(await mill.prefetch(source, { scope, priority, signal: console.signal, onProgress }).done, json, console);
  },
};

function scopeOf(given: string | boolean | undefined, { peers }: MillraceOptions): "process" | "cluster" {
  const scope = given ?? (peers === undefined ? "process" : "cluster");
  if (scope !== "process" && scope !== "cluster") throw new UsageError(`--scope: expected cluster or process, got ${scope}`);
  return scope;
}

async function open(options: MillraceOptions, scope: "process" | "cluster", console: Console): Promise<Millrace> {
  if (scope === "process") {
    if ((options.cache?.disk ?? []).length === 0)
      throw new UsageError("the configuration has no cache.disk: what this process loads would be gone with it");
    return openMillrace({ ...options, logger: consoleLogger(console, { level: "warn", json: false }) });
  }
  const mill = await openAsking(options, console);
  try {
    await checkMembers(mill);
    return mill;
  } catch (error) {
    await mill.close();
    throw error;
  }
}

interface Part {
  readonly index: number;
  readonly of: number;
}

function parsePart(text: string): Part {
  const [, index, of] = /^(\d{1,6})\/(\d{1,6})$/.exec(text) ?? [];
  const part = { index: Number(index), of: Number(of) };
  if (!(part.index < part.of)) throw new UsageError(`--part: expected i/n with i from 0 to n - 1, got ${text}`);
  return part;
}

function parsePriority(text: string): number {
  if (!/^-?\d{1,6}$/.test(text)) throw new UsageError(`--priority: expected a whole number, got ${text}`);
  return Number(text);
}

async function objectsOf(mill: Millrace, prefixes: readonly string[], { index, of }: Part): Promise<string[]> {
  const chosen: string[] = [];
  let count = 0;
  for (const prefix of prefixes) for await (const { path } of mill.list(prefix)) if (count++ % of === index) chosen.push(path);
  if (count === 0) throw new UsageError(`--part: there are no objects below ${prefixes.join(", ")}`);
  return chosen;
}

function teller(console: Console): (progress: Progress) => void {
  let next = performance.now() + TELL_EVERY_MS;
  return ({ bytes, totalBytes, bytesPerSecond, etaSeconds }) => {
    if (performance.now() < next) return;
    next = performance.now() + TELL_EVERY_MS;
    const pace = `${formatBytes(bytesPerSecond)}/s, ${Math.round(etaSeconds)} s to go`;
    console.err(`${formatBytes(bytes)} of ${formatBytes(totalBytes)}, ${pace}`);
  };
}

function tell(report: PrefetchReport, json: boolean, console: Console): number {
  const { objects, bytes, alreadyCached, failures } = report;
  if (json) console.out(JSON.stringify(report));
  else {
    console.out(`${objects} objects: ${formatBytes(bytes)} loaded, ${formatBytes(alreadyCached)} held before, ${failures.length} failed`);
    for (const { path, code, message } of failures.slice(0, MOST_FAILURES)) console.err(`${path}: ${message} (${code})`);
    if (failures.length > MOST_FAILURES) console.err(`and ${failures.length - MOST_FAILURES} more; --json has all`);
  }
  return failures.length === 0 ? 0 : 1;
}

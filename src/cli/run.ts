/** From the words of a command line to a command, and from what it throws to one line and an exit code. */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { MillraceError } from "../index.js";
import type { Command, Console } from "./command.js";
import { CONFIG_FILE, readConfig } from "./config.js";
import { locate } from "./locate.js";
import { peers } from "./peers.js";
import { prefetch } from "./prefetch.js";
import { serve } from "./serve.js";
import { UsageError } from "./usage.js";

const COMMANDS: Readonly<Record<string, Command>> = { serve, locate, prefetch, peers };
const COMMON = { config: { type: "string" }, json: { type: "boolean" }, help: { type: "boolean", short: "h" } } as const;

/** Resolves to the exit code: 0 for success, 1 for a failure, 2 for words or a configuration that do not fit. Never rejects. */
export async function run(words: readonly string[], env: NodeJS.ProcessEnv, console: Console): Promise<number> {
  const [name = "--help", ...rest] = words;
  try {
    if (name === "--version") console.out(await version());
    else if (name === "--help" || name === "-h") for (const line of overview()) console.out(line);
    else return await runCommand(name, rest, env, console);
    return 0;
  } catch (error) {
    const wrong = error instanceof UsageError || (error instanceof MillraceError && error.code === "MILLRACE_CONFIG");
    const code = error instanceof MillraceError ? ` (${error.code})` : "";
    console.err(`millrace ${name}: ${(error as Error).message.trim().replace(/\s*\n\s*/g, "; ")}${code}`);
    return wrong ? 2 : 1;
  }
}

async function runCommand(name: string, words: readonly string[], env: NodeJS.ProcessEnv, console: Console): Promise<number> {
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name]! : undefined;
  if (command === undefined) throw new UsageError(`no such command; there are ${Object.keys(COMMANDS).join(", ")}`);
  const { values, positionals } = parse(command, words);
  if (values.help === true) {
    for (const line of helpOf(name, command)) console.out(line);
    return 0;
  }
  const { least, most } = command.takes;
  if (positionals.length < least || positionals.length > most)
    throw new UsageError(`expected millrace ${name} ${command.parameters}`.trim());
  const options = await readConfig(String(values.config ?? CONFIG_FILE), env);
  return command.run({ options, positionals, values, json: values.json === true, console });
}

function parse(command: Command, words: readonly string[]) {
  try {
    const parsed = parseArgs({ args: [...words], options: { ...COMMON, ...command.flags }, allowPositionals: true });
    return { values: parsed.values as Record<string, string | boolean | undefined>, positionals: parsed.positionals };
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function overview(): string[] {
  const width = Math.max(...Object.keys(COMMANDS).map((name) => name.length));
  return [
    "millrace <command> [options]",
    "",
    ...Object.entries(COMMANDS).map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`),
    "",
    ...commonHelp(),
    "millrace <command> --help says more; millrace --version says which.",
  ];
}

function helpOf(name: string, { summary, parameters, help }: Command): string[] {
  return [`millrace ${name} ${parameters}`.trim(), "", `Millrace: ${summary}.`, ...help, "", ...commonHelp()];
}

function commonHelp(): string[] {
  return [`--config <file>   options of openMillrace as JSON; default ${CONFIG_FILE}`, "--json            results, or log lines, as JSON"];
}

async function version(): Promise<string> {
  const manifest = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}

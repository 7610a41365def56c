/** The configuration file: the options of `openMillrace` as JSON, with what is secret or differs by node left to the environment. */
import { readFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import type { MillraceOptions } from "../index.js";
import { UsageError } from "./usage.js";

export const CONFIG_FILE = "millrace.config.json";

/**
 * Reads the file. `{ "$env": "NAME" }` stands for an environment variable, `{ "$file": "path" }` for the text of a file, found from the
 * configuration's folder. Throws UsageError where the file, a variable or JSON is missing; the options themselves are checked by `openMillrace`.
 */
export async function readConfig(path: string, env: NodeJS.ProcessEnv): Promise<MillraceOptions> {
  const text = await read(path, "the configuration; name another by --config");
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${path}: ${(error as Error).message}`);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed))
    throw new UsageError(`${path}: expected an object of options`);
  return (await filled(parsed, "", { path, env })) as MillraceOptions;
}

interface Place {
  readonly path: string;
  readonly env: NodeJS.ProcessEnv;
}

/** The value with every reference in it replaced. `name`: how a message calls the option. */
async function filled(value: unknown, name: string, place: Place): Promise<unknown> {
  if (Array.isArray(value)) return Promise.all(value.map((item, i) => filled(item, `${name}[${i}]`, place)));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [key, what] = entries[0] ?? [];
  if (entries.length === 1 && (key === "$env" || key === "$file")) return referred(key, what, name, place);
  const inner = async ([key, item]: [string, unknown]) => [key, await filled(item, name === "" ? key : `${name}.${key}`, place)];
  return Object.fromEntries(await Promise.all(entries.map(inner)));
}

async function referred(kind: "$env" | "$file", what: unknown, name: string, { path, env }: Place): Promise<string> {
  if (typeof what !== "string" || what === "") throw new UsageError(`${path}: ${name}.${kind}: expected a name`);
  if (kind === "$file") return (await read(resolve(dirname(path), what), name)).trimEnd();
  const value = env[what];
  if (value === undefined || value === "") throw new UsageError(`${path}: ${name}: the environment variable ${what} is not set`);
  return value;
}

async function read(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new UsageError(`${path}: cannot be read (${(error as NodeJS.ErrnoException).code}): ${what}`);
  }
}

/**
 * Code that other threads load by URL: our own worker entries, and the user's modules.
 * All work from .js, and from .ts under tsx, under vitest and on a Node that strips types itself.
 */
import { register } from "node:module";
import { pathToFileURL } from "node:url";
import { Worker, type WorkerOptions } from "node:worker_threads";
import { MillraceError } from "../errors.js";
import { HOOKS_URL, type HookOptions, hooksPreload } from "./typescript-hooks.js";

/** `".ts"` where the library runs from its sources, else `".js"`: for the URLs of our own worker entries. */
export const SOURCE_EXTENSION: ".ts" | ".js" = isTypeScript(import.meta.url) ? ".ts" : ".js";

/** What a worker needs of its parent's arguments to load modules as the parent does. Others are no worker's (`--expose-gc`) and are refused there. */
const LOADING_ARGUMENTS = new Set(["--import", "--require", "-r", "--loader", "--experimental-loader", "--conditions", "-C"]);

/**
 * Starts a worker thread on one of our own entries. From .js it inherits how this thread loads modules (tsx's loader too);
 * from .ts it gets the hooks that read TypeScript as well.
 */
export function startWorker(entry: URL, options: WorkerOptions = {}): Worker {
  if (isTypeScript(entry.href)) return new Worker(entry, { ...options, execArgv: typeScriptArguments() });
  // Of a script that is given as text: a worker, which has a file, does not start with it.
  if (process.execArgv.some((argument) => argument.startsWith("--input-type")))
    return new Worker(entry, { ...options, execArgv: loadingArguments() });
  return new Worker(entry, options);
}

let hooked = false;

/**
 * Imports a user's module and takes one export of it. `what` names it in messages, as in `stores.gs`.
 * Throws MILLRACE_CONFIG where it cannot be imported or lacks the export.
 */
export async function importExport(url: string, name: string, what: string): Promise<unknown> {
  let found: Record<string, unknown>;
  try {
    if (isTypeScript(url) && !hooked) {
      register(HOOKS_URL, { data: hookOptions() });
      hooked = true;
    }
    found = (await import(/* @vite-ignore */ url)) as Record<string, unknown>;
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new MillraceError("MILLRACE_CONFIG", `${what}: ${url} could not be imported in the thread that needs it: ${message}`, { cause });
  }
  if (!(name in found)) {
    const names = Object.keys(found).join(", ") || "none";
    throw new MillraceError("MILLRACE_CONFIG", `${what}: ${url} has no export named ${name}; its exports are: ${names}`);
  }
  return found[name];
}

function isTypeScript(url: string): boolean {
  return /\.[mc]?ts$/.test(url.replace(/[?#].*$/, ""));
}

function loadingArguments(): string[] {
  const kept: string[] = [];
  for (let i = 0; i < process.execArgv.length; i++) {
    const argument = process.execArgv[i]!;
    if (LOADING_ARGUMENTS.has(argument)) kept.push(argument, process.execArgv[++i]!);
    else if (LOADING_ARGUMENTS.has(argument.split("=", 1)[0]!)) kept.push(argument);
  }
  return kept;
}

function typeScriptArguments(): string[] {
  const kept = loadingArguments();
  const preload = hooksPreload(hookOptions());
  return kept.includes(preload) ? kept : [...kept, "--import", preload];
}

function hookOptions(): HookOptions {
  const aliases: Record<string, string> = {};
  // From the sources, `millrace` is not the built package: threads must resolve it as the tests' and examples' main thread does.
  if (SOURCE_EXTENSION === ".ts") {
    aliases.millrace = new URL("../index.ts", import.meta.url).href;
    aliases["millrace/testing"] = new URL("../testing/index.ts", import.meta.url).href;
    for (const name of ["tfjs", "onnx", "decode"]) aliases[`millrace/${name}`] = new URL(`../adapters/${name}.ts`, import.meta.url).href;
  }
  return { searchFrom: [pathToFileURL(`${process.cwd()}/`).href, import.meta.url], aliases };
}

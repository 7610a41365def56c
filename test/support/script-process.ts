/** Processes that run TypeScript sources of ours: Node with tsx. */
import { type ChildProcess, type StdioOptions, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";

/** For Node's `--import`; found from anywhere. */
export const TSX: string = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

/** A process that has not ended by then never will, milliseconds: those of tests take 1 to 5 s. */
const LIMIT_MS = 25_000;

export interface ScriptOptions {
  /** Default: nothing in; its output is read; its errors are this process's. */
  readonly stdio?: StdioOptions;
  /** On top of this process's. */
  readonly env?: NodeJS.ProcessEnv;
}

export function startScript(script: string | URL, words: readonly string[], { stdio, env }: ScriptOptions = {}): ChildProcess {
  const path = script instanceof URL ? fileURLToPath(script) : script;
  return spawn(process.execPath, ["--import", TSX, path, ...words], {
    stdio: stdio ?? ["ignore", "pipe", "inherit"],
    // A parent under a debugger or a test runner may carry options that are none of the script's business.
    env: { ...process.env, NODE_OPTIONS: "", NODE_V8_COVERAGE: "", NODE_NO_WARNINGS: "1", ...env },
  });
}

/** Resolves when it has ended: `code` is null where it had to be killed. */
export function runScript(
  script: string | URL,
  words: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<{ readonly code: number | null; readonly lines: string[] }> {
  const child = startScript(script, words, { env });
  let output = "";
  child.stdout!.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  return new Promise((resolve) =>
    child.once("close", (code) => {
      clearTimeout(timer);
      resolve({ code, lines: output.trim().split("\n") });
    }),
  );
}

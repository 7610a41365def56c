/**
 * Loader hooks that let a thread import .ts where Node itself cannot: Node before 22.18, or TypeScript that its type stripping refuses.
 * The hooks run in a thread that has no TypeScript loader yet, so they are kept as plain JavaScript text and loaded from a data: URL.
 * They only ever step in where the loaders before them (Node's own, tsx's) have failed.
 */

/** Order of trial: Node's own (22.13 and later) needs nothing installed; esbuild starts in 20 ms; typescript loads in 260 ms, vite in 210. */
const TRANSPILERS = ["esbuild", "typescript", "vite"];

const HOOKS = `
import * as nodeModule from "node:module";
import { readFile } from "node:fs/promises";
import { fileURLToPath, pathToFileURL } from "node:url";

const TYPESCRIPT = /\\.[mc]?ts$/;
const pathOf = (url) => url.replace(/[?#].*$/, "");
let searchFrom = [];
let aliases = {};
let transpiler;

export function initialize(data) {
  ({ searchFrom, aliases } = data);
}

export async function resolve(specifier, context, next) {
  try {
    return await next(aliases[specifier] ?? specifier, context);
  } catch (error) {
    // TypeScript names the .js that it will become.
    const renamed = /^(\\.{1,2}\\/|file:).*\\.[mc]?js$/.test(pathOf(specifier)) && TYPESCRIPT.test(pathOf(context.parentURL ?? ""));
    if (error.code !== "ERR_MODULE_NOT_FOUND" || !renamed) throw error;
    return next(specifier.replace(/js(?=$|[?#])/, "ts"), context);
  }
}

export async function load(url, context, next) {
  if (!url.startsWith("file:") || !TYPESCRIPT.test(pathOf(url))) return next(url, context);
  try {
    return await next(url, context);
  } catch (error) {
    if (error.code !== "ERR_UNKNOWN_FILE_EXTENSION" && error.code !== "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX") throw error;
    transpiler ??= await findTranspiler(url);
    const source = await readFile(fileURLToPath(pathOf(url)), "utf8");
    return { format: "module", shortCircuit: true, source: await transpiler(source, fileURLToPath(pathOf(url))) };
  }
}

async function findTranspiler(url) {
  for (const from of [url, ...searchFrom]) {
    const require = nodeModule.createRequire(from);
    for (const name of ${JSON.stringify(TRANSPILERS)}) {
      let path;
      try {
        path = require.resolve(name);
      } catch {
        continue;
      }
      return adapters[name](await import(pathToFileURL(path).href));
    }
  }
  if (nodeModule.stripTypeScriptTypes) return (source) => nodeModule.stripTypeScriptTypes(source);
  const error = new Error("nothing here can read " + url + ": install esbuild, typescript or vite beside it, run Node 22.18 or later, or compile it to .js");
  error.code = "MILLRACE_CONFIG";
  throw error;
}

const adapters = {
  esbuild: (found) => async (source, file) =>
    (await (found.transform ?? found.default.transform)(source, { loader: "ts", format: "esm", target: "node20", sourcemap: "inline", sourcefile: file })).code,
  typescript: ({ default: ts }) => (source, file) =>
    ts.transpileModule(source, {
      fileName: file,
      compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext, inlineSourceMap: true },
    }).outputText,
  vite: (vite) => async (source, file) =>
    (await (vite.transformWithOxc ?? vite.transformWithEsbuild)(source, file, vite.transformWithOxc ? { lang: "ts" } : { loader: "ts" })).code,
};
`;

const dataUrl = (source: string): string => `data:text/javascript,${encodeURIComponent(source)}`;

export interface HookOptions {
  /** File URLs from where transpilers are looked for, after the module's own. */
  readonly searchFrom: readonly string[];
  /** File URLs by import name. */
  readonly aliases: Readonly<Record<string, string>>;
}

/** URL of the module with the hooks, for `module.register`, which takes `{ data: HookOptions }` with it. */
export const HOOKS_URL: string = dataUrl(HOOKS);

/** URL of a module that adds the hooks to the thread that imports it, for `--import`. */
export function hooksPreload(options: HookOptions): string {
  return dataUrl(`import { register } from "node:module"; register(${JSON.stringify(HOOKS_URL)}, ${JSON.stringify({ data: options })});`);
}

/**
 * TypeScript made into plain JavaScript, as the package ships it: what a TypeScript loader takes of memory and of a start would be measured
 * as the library's own. Types are stripped file by file and not checked.
 */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import ts from "typescript";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));

export interface PlainJs {
  /** The JavaScript of a `.ts` path below the repository's root. */
  url(path: string): URL;
  close(): Promise<void>;
}

/** Takes files and whole folders, by path below the repository's root: with all that they import. */
export async function plainJs(paths: readonly string[]): Promise<PlainJs> {
  // In the repository, so that packages are found.
  await mkdir(join(REPOSITORY, ".tmp"), { recursive: true });
  const folder = await mkdtemp(join(REPOSITORY, ".tmp/bench-"));
  const target = (path: string) => join(folder, path.replace(/\.ts$/, ".js"));
  for (const path of await filesOf(paths)) {
    const { outputText } = ts.transpileModule(await readFile(join(REPOSITORY, path), "utf8"), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true },
    });
    await mkdir(dirname(target(path)), { recursive: true });
    await writeFile(target(path), outputText);
  }
  return { url: (path) => pathToFileURL(target(path)), close: () => rm(folder, { recursive: true }) };
}

async function filesOf(paths: readonly string[]): Promise<string[]> {
  const files = paths.map(async (path) => {
    if ((await stat(join(REPOSITORY, path))).isFile()) return [path];
    const names = await readdir(join(REPOSITORY, path), { recursive: true });
    return names.filter((name) => name.endsWith(".ts")).map((name) => join(path, name));
  });
  return (await Promise.all(files)).flat();
}

/** An empty project with the packed package in it, as a user would have it after `npm install millrace`. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const REPOSITORY = fileURLToPath(new URL("../../", import.meta.url));
const TSC = join(REPOSITORY, "node_modules/typescript/bin/tsc");
const execute = promisify(execFile);
/** What the package is made from. */
const SOURCES = ["src", "tsconfig.json", "tsconfig.build.json", "package.json", "README.md", "LICENSE", "CHANGELOG.md"];
/** A program that hangs must not hang the tests, milliseconds. */
const PROGRAM_LIMIT_MS = 60_000;

export interface PackedProject {
  readonly folder: string;
  /** Paths in the tarball. */
  readonly packed: readonly string[];
  readonly manifest: { readonly exports: Readonly<Record<string, unknown>>; readonly dependencies: Readonly<Record<string, string>> };
  write(name: string, text: string): Promise<void>;
  /** Runs a program of the project to its end; what it printed. Rejects, with what it wrote to stderr, where it fails or hangs. */
  run(...parameters: string[]): Promise<string>;
  /** Compiles the project's files without output; resolves to the compiler's messages, `""` for none. */
  typecheck(files: readonly string[], options: Readonly<Record<string, unknown>>): Promise<string>;
  remove(): Promise<void>;
}

/**
 * Builds and packs in a folder of its own, so that neither a stale dist/ nor another test running beside it plays a part.
 * Only declared dependencies are put beside the package (as links to the repository's): one that is used but not declared is not found.
 */
export async function packedProject(): Promise<PackedProject> {
  const folder = await mkdtemp(join(tmpdir(), "millrace-package-"));
  try {
    return { ...(await install(folder)), ...programs(folder) };
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    const { stdout } = error as { stdout?: string }; // Where tsc says what is wrong.
    throw new Error(`The package could not be built: ${stdout || (error as Error).message}`, { cause: error });
  }
}

async function install(folder: string): Promise<Pick<PackedProject, "folder" | "packed" | "manifest">> {
  const source = join(folder, "source");
  const installed = join(folder, "node_modules/millrace");
  await mkdir(source);
  await mkdir(installed, { recursive: true });
  for (const name of SOURCES) await cp(join(REPOSITORY, name), join(source, name), { recursive: true });
  await symlink(join(REPOSITORY, "node_modules"), join(source, "node_modules"), "dir");
  await execute(process.execPath, [TSC, "-p", "tsconfig.build.json"], { cwd: source });
  const { stdout } = await execute("npm", ["pack", "--json"], { cwd: source, maxBuffer: 2 ** 26 });
  const [tarball] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }];
  await execute("tar", ["-xzf", join(source, tarball.filename), "-C", installed, "--strip-components=1"]);
  const manifest = JSON.parse(await readFile(join(installed, "package.json"), "utf8")) as PackedProject["manifest"];
  for (const name of [...Object.keys(manifest.dependencies), "@types/node"]) {
    await mkdir(dirname(join(folder, "node_modules", name)), { recursive: true });
    await symlink(join(REPOSITORY, "node_modules", name), join(folder, "node_modules", name), "dir");
  }
  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "consumer", private: true, type: "module" }));
  return { folder, packed: tarball.files.map(({ path }) => path), manifest };
}

function programs(folder: string): Pick<PackedProject, "write" | "run" | "typecheck" | "remove"> {
  const write = (name: string, text: string) => writeFile(join(folder, name), text);
  return {
    write,
    run: async (...parameters) =>
      (await execute(process.execPath, parameters, { cwd: folder, timeout: PROGRAM_LIMIT_MS, maxBuffer: 2 ** 26 })).stdout,
    typecheck: async (files, compilerOptions) => {
      await write("tsconfig.json", JSON.stringify({ compilerOptions: { ...compilerOptions, noEmit: true }, files }));
      return execute(process.execPath, [TSC, "-p", folder]).then(
        () => "",
        ({ stdout: messages }: { stdout: string }) => messages,
      );
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

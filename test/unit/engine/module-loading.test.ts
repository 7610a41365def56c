import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { importExport, SOURCE_EXTENSION, startWorker } from "../../../src/engine/module-loading.js";
import { HOOKS_URL, hooksPreload } from "../../../src/engine/typescript-hooks.js";
import { TSX } from "../../support/script-process.js";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../../", import.meta.url));
const fixture = (name: string) => new URL(`./fixtures/${name}`, import.meta.url);

async function firstMessage(worker: Worker): Promise<unknown> {
  try {
    return await new Promise((resolve, reject) => {
      worker.once("message", resolve);
      worker.once("error", reject);
      worker.once("exit", (code) => reject(new Error(`exit ${code}`)));
    });
  } finally {
    await worker.terminate();
  }
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "module-loading-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("startWorker", () => {
  test("runs a .ts entry that imports .ts by the name of its .js", async () => {
    expect(SOURCE_EXTENSION).toBe(".ts");
    expect(await firstMessage(startWorker(fixture("typed-worker.ts"), { workerData: { bytes: 1536 } }))).toBe("1.5 KiB");
  });

  test("a worker starts workers in its turn", async () => {
    expect(await firstMessage(startWorker(fixture("nesting-worker.ts")))).toBe("nested: 2 KiB");
  });

  test("runs a .js entry with what it inherits", async () => {
    const path = join(folder, "plain.mjs");
    await writeFile(path, "import { parentPort, workerData } from 'node:worker_threads'; parentPort.postMessage(workerData + 1);");
    expect(await firstMessage(startWorker(pathToFileURL(path), { workerData: 1 }))).toBe(2);
  });

  test("from a script that is given as text, too", async () => {
    const path = join(folder, "given.mjs");
    await writeFile(path, "import { parentPort } from 'node:worker_threads'; parentPort.postMessage('started');");
    const script = `
      const { startWorker } = await import(${JSON.stringify(new URL("../../../src/engine/module-loading.ts", import.meta.url).href)});
      const worker = startWorker(new URL(${JSON.stringify(pathToFileURL(path).href)}));
      worker.on("message", (said) => console.log(said));`;
    const { stdout } = await run(process.execPath, ["--import", TSX, "--input-type=module", "-e", script]);
    expect(stdout).toBe("started\n");
  });
});

describe("importExport", () => {
  test("imports a .js and a .ts module", async () => {
    await writeFile(join(folder, "a.mjs"), "export const value = 1; export default 2;");
    const url = pathToFileURL(join(folder, "a.mjs")).href;
    expect(await importExport(url, "value", "stores.a")).toBe(1);
    expect(await importExport(url, "default", "stores.a")).toBe(2);
    expect(await importExport(fixture("typed-value.ts").href, "default", "stores.b")).toBe("1 KiB");
  });

  test("names the module, its exports and what it was for", async () => {
    await writeFile(join(folder, "b.mjs"), "export const one = 1; export const two = 2;");
    const url = pathToFileURL(join(folder, "b.mjs")).href;
    await expect(importExport(url, "default", "stores.b")).rejects.toMatchObject({
      code: "MILLRACE_CONFIG",
      message: expect.stringMatching(/^stores\.b: file:.*b\.mjs has no export named default; its exports are: one, two$/),
    });
  });

  test("a module that fails to import keeps its cause", async () => {
    await writeFile(join(folder, "c.mjs"), "throw new RangeError('no luck');");
    const failure = await importExport(pathToFileURL(join(folder, "c.mjs")).href, "default", "decode").catch(
      (error: Error) => error as Error & { code: string },
    );
    expect(failure).toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringContaining("no luck") });
    expect((failure as Error).cause).toBeInstanceOf(RangeError);
    await expect(importExport("file:///nowhere/at/all.mjs", "default", "decode")).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
  });
});

describe("the hooks, in a project of their own", () => {
  const module = "import { n } from './n.js';\nenum Kind { A = 5 }\nconst x: number = n + Kind.A;\nconsole.log(JSON.stringify({ x }));\n";

  /** A folder with `main.ts` and only one of our packages installed, and the arguments to run it with plain Node. */
  async function project(name: string, packages: readonly string[]): Promise<string> {
    const path = await mkdtemp(join(folder, `${name}-`));
    await writeFile(join(path, "package.json"), JSON.stringify({ type: "module" }));
    await writeFile(join(path, "main.ts"), module);
    await writeFile(join(path, "n.ts"), "export const n: number = 2;");
    for (const each of packages) {
      await mkdir(join(path, "node_modules"), { recursive: true });
      await symlink(join(root, "node_modules", each), join(path, "node_modules", each));
    }
    return path;
  }

  test.each(["esbuild", "typescript", "vite"])("transpile by %s", async (name) => {
    const path = await project(name, [name]);
    const preload = hooksPreload({ searchFrom: [], aliases: {} });
    const { stdout } = await run(process.execPath, ["--import", preload, join(path, "main.ts")], { cwd: path });
    expect(JSON.parse(stdout)).toEqual({ x: 7 });
  });

  // Later versions may take types off by themselves: then nothing is missing.
  test.skipIf(Number(process.versions.node.split(".")[0]) > 20)("say what to install where nothing is", async () => {
    const path = await project("bare", []);
    const preload = hooksPreload({ searchFrom: [pathToFileURL(`${path}/`).href], aliases: {} });
    const failure = await run(process.execPath, ["--import", preload, join(path, "main.ts")], { cwd: path }).catch((error) => error);
    expect(failure.stderr).toMatch(/install esbuild, typescript or vite beside it/);
  });

  test("leave alone what tsx can do, as a preload and by `tsx file`", async () => {
    const path = await project("tsx", []);
    await writeFile(
      join(path, "start.ts"),
      `import { importExport, startWorker } from ${JSON.stringify(join(root, "src/engine/module-loading.ts"))};
       const worker = startWorker(new URL(${JSON.stringify(fixture("typed-worker.ts").href)}), { workerData: { bytes: 4096 } });
       worker.once("message", async (text: string) => {
         await worker.terminate();
         console.log(text + " " + (await importExport(${JSON.stringify(fixture("typed-value.ts").href)}, "default", "it")));
       });`,
    );
    const byPreload = await run(process.execPath, ["--import", "tsx", join(path, "start.ts")], { cwd: root });
    expect(byPreload.stdout.trim()).toBe("4 KiB 1 KiB");
    const byCommand = await run(join(root, "node_modules/.bin/tsx"), [join(path, "start.ts")], { cwd: root });
    expect(byCommand.stdout.trim()).toBe("4 KiB 1 KiB");
  });

  test("resolve the library's own name to its sources", async () => {
    const worker = new Worker(
      `import("node:module").then(({ register }) => {
         register(${JSON.stringify(HOOKS_URL)}, { data: { searchFrom: [], aliases: { own: "data:text/javascript,export default 3" } } });
         return import("own");
       }).then((found) => require("node:worker_threads").parentPort.postMessage(found.default));`,
      { eval: true },
    );
    expect(await firstMessage(worker)).toBe(3);
  });
});

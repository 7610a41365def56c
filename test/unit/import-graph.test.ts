/** Holds the imports of src/ against the layout of docs/architecture.md: one direction, no cycles, nothing heavy at start. */
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { dirname, join, normalize } from "node:path/posix";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import ts from "typescript";
import { beforeAll, describe, expect, test } from "vitest";
import { ROOMS } from "../support/rooms.js";

/** Rooms that others than the package's users may not import: `millrace/testing` is for tests, the adapters are entries. */
const NOT_IMPORTED = new Set(["testing", "adapters"]);

const SRC = fileURLToPath(new URL("../../src/", import.meta.url));

interface Import {
  readonly from: string;
  /** A path below src/, or the name of a package. */
  readonly to: string;
  readonly own: boolean;
}

function roomOf(file: string): string {
  return file.includes("/") ? file.slice(0, file.indexOf("/")) : file;
}
function rankOf(file: string): number {
  return ROOMS.findIndex((rooms) => rooms.includes(roomOf(file)));
}

function importsOf(file: string, text: string): Import[] {
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => {
    const own = fileName.startsWith(".");
    return { from: file, to: own ? normalize(join(dirname(file), fileName)).replace(/\.js$/, ".ts") : fileName, own };
  });
}

/** The files of one cycle, or undefined. */
function findCycle(edges: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const finished = new Set<string>();
  const walk = (file: string, path: readonly string[]): string[] | undefined => {
    if (path.includes(file)) return [...path.slice(path.indexOf(file)), file];
    if (finished.has(file)) return undefined;
    for (const next of edges.get(file) ?? []) {
      const cycle = walk(next, [...path, file]);
      if (cycle !== undefined) return cycle;
    }
    finished.add(file);
    return undefined;
  };
  for (const file of edges.keys()) {
    const cycle = walk(file, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}

let files: string[] = [];
let imports: Import[] = [];
beforeAll(async () => {
  files = (await readdir(SRC, { recursive: true })).filter((name) => name.endsWith(".ts")).sort();
  imports = (await Promise.all(files.map(async (file) => importsOf(file, await readFile(SRC + file, "utf8"))))).flat();
});

describe("imports of src/", () => {
  test("every file belongs to a room of the table, and every room has files", () => {
    expect(files.filter((file) => rankOf(file) < 0)).toEqual([]);
    expect(ROOMS.flat().filter((room) => !files.some((file) => roomOf(file) === room))).toEqual([]);
  });

  test("rooms import their own files and earlier rooms only", () => {
    const backwards = imports.filter(({ from, to, own }) => own && rankOf(to) > rankOf(from));
    expect(backwards.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test("files of one rank at the root do not import each other, and no room imports an entry", () => {
    const wrong = imports.filter(
      ({ from, to, own }) => own && roomOf(from) !== roomOf(to) && (rankOf(from) === rankOf(to) || NOT_IMPORTED.has(roomOf(to))),
    );
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test("the command line knows the public names only, and small things with one job", () => {
    const wrong = imports.filter(({ from, to, own }) => own && roomOf(from) === "cli" && !["cli", "index.ts", "util"].includes(roomOf(to)));
    expect(wrong.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test("own imports name files that are there", () => {
    const missing = imports.filter(({ to, own }) => own && !files.includes(to));
    expect(missing.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  });

  test("there are no cycles between files, types included", () => {
    const edges = new Map(files.map((file) => [file, imports.filter(({ from, own }) => own && from === file).map(({ to }) => to)]));
    expect(findCycle(edges)?.join(" → ")).toBeUndefined();
    edges.set("errors.ts", ["mill.ts"]); // The search itself must find one.
    expect(findCycle(edges)?.at(-1)).toBe(findCycle(edges)?.[0]);
  });

  test("other packages are the declared ones, and zod stays where values come in from outside", async () => {
    const manifest = JSON.parse(await readFile(new URL("../../package.json", import.meta.url), "utf8")) as Record<string, object>;
    const declared = new Set(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }));
    const foreign = imports.filter(({ to, own }) => !own && !isBuiltin(to));
    const undeclared = foreign.filter(({ to }) => !declared.has(to.split("/", to.startsWith("@") ? 2 : 1).join("/")));
    expect(undeclared.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
    const users = foreign.filter(({ to }) => to === "zod").map(({ from }) => from);
    const inPeers = ["peers/discovery/member-record.ts", "peers/peer-protocol.ts"];
    const inCheckpoint = ["checkpoint", "training"].map((what) => `checkpoint/${what}-options.ts`);
    expect(users).toEqual([...inCheckpoint, "loader/loader-options.ts", "options.ts", ...inPeers]);
    expect(foreign.filter(({ to }) => to.startsWith("@aws-sdk/")).map(({ from }) => roomOf(from))).toContain("storage");
  });
});

/** Reports the URL of every module that is loaded, a line each. */
const RECORDER = `data:text/javascript,${encodeURIComponent(`
import { register } from "node:module";
register("data:text/javascript," + encodeURIComponent(${JSON.stringify(`
import { writeSync } from "node:fs";
export function load(url, context, next) {
  writeSync(1, url + "\\n");
  return next(url, context);
}
`)}));
`)}`;

/** Modules that a new process loads when it imports this one. */
async function loadedBy(specifier: string): Promise<string[]> {
  const program = `await import(${JSON.stringify(specifier)})`;
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ["--import", "tsx", "--import", RECORDER, "--input-type=module", "-e", program],
    { cwd: fileURLToPath(new URL("../../", import.meta.url)), maxBuffer: 2 ** 26 },
  );
  return stdout.split("\n").filter(Boolean);
}
const HEAVY = /node_modules\/(@aws-sdk|@smithy|sharp|@img|onnxruntime[^/]*|@tensorflow)\//;

describe("what importing loads", () => {
  test.each(["index.ts", "adapters/tfjs.ts", "adapters/onnx.ts", "adapters/decode.ts", "testing/index.ts"])(
    "src/%s loads neither the AWS SDK nor a framework",
    async (entry) => {
      const loaded = await loadedBy(`./src/${entry}`);
      expect(loaded.some((url) => url.includes(`/src/${entry}`))).toBe(true);
      expect(loaded.filter((url) => HEAVY.test(url))).toEqual([]);
    },
  );

  test("a decode worker imports no package: Node's lexer of CommonJS alone would take 2.6 MB of each", async () => {
    const loaded = await loadedBy("./src/engine/decode-service.ts");
    expect(loaded.some((url) => url.includes("/src/loader/assemble.ts"))).toBe(true);
    expect(loaded.filter((url) => url.includes("/node_modules/"))).toEqual([]);
  });

  test("the recorder sees the AWS SDK when it is imported, as a store does", async () => {
    expect((await loadedBy("@aws-sdk/client-s3")).filter((url) => HEAVY.test(url))).not.toEqual([]);
  });
});

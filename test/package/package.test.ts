/** The packed package, in an empty project: what a user gets, not what the repository has. */
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type PackedProject, packedProject } from "./packed-project.js";

const README = await readFile(new URL("../../README.md", import.meta.url), "utf8");
/** The programs that README shows, in order. */
const SHOWN = [...README.matchAll(/^```(?:js|ts)\n(.*?)^```/gms)].map((match) => match[1]!);

/** Compiling, packing and the programs run one after another on what may be a slow machine. */
const SLOW_MS = 120_000;

let project: PackedProject;
beforeAll(async () => {
  project = await packedProject();
}, SLOW_MS);
afterAll(() => project?.remove());

const SUB_PATHS = ["millrace", "millrace/tfjs", "millrace/onnx", "millrace/decode", "millrace/testing"];

describe("the tarball", () => {
  test("holds the built files, the papers and nothing else", () => {
    const others = project.packed.filter((path) => !path.startsWith("dist/"));
    expect(others.sort()).toEqual(["CHANGELOG.md", "LICENSE", "README.md", "package.json"]);
    expect(project.packed.filter((path) => path.startsWith("dist/") && !/\.(js|d\.ts|js\.map)$/.test(path))).toEqual([]);
  });

  test("keeps zod out of every declaration file", async () => {
    const declarations = project.packed.filter((path) => path.endsWith(".d.ts"));
    expect(declarations).toContain("dist/options.d.ts");
    for (const path of declarations) {
      const text = await readFile(join(project.folder, "node_modules/millrace", path), "utf8");
      expect(/["']zod["']|\bz\.\w/.test(text), path).toBe(false);
    }
  });

  test("names no path of the machine it was built on", async () => {
    for (const path of project.packed) {
      const text = await readFile(join(project.folder, "node_modules/millrace", path), "utf8");
      expect(text.includes(process.cwd()) || text.includes(project.folder), path).toBe(false);
    }
  });
});

describe("importing", () => {
  test("every sub-path of `exports` is importable", async () => {
    expect(Object.keys(project.manifest.exports).sort()).toEqual(
      [...SUB_PATHS.map((name) => name.replace("millrace", ".")), "./package.json"].sort(),
    );
    await project.write(
      "names.js",
      `const names = {};
       for (const path of ${JSON.stringify(SUB_PATHS)}) names[path] = Object.keys(await import(path)).sort();
       console.log(JSON.stringify(names));`,
    );
    const names = JSON.parse(await project.run("names.js")) as Record<string, string[]>;
    expect(names.millrace).toEqual(["MillraceError", "defineDecoder", "openDataset", "openMillrace"]);
    expect(names["millrace/tfjs"]).toContain("tfDataset");
    expect(names["millrace/onnx"]).toEqual(expect.arrayContaining(["createSession", "feeds"]));
    expect(names["millrace/decode"]).toContain("image");
    expect(names["millrace/testing"]).toContain("storeContract");
  });

  test("require gives the same module as import", async () => {
    await project.write(
      "required.cjs",
      `const required = require("millrace");
       import("millrace").then((imported) => console.log(required.openMillrace === imported.openMillrace, typeof required.MillraceError));`,
    );
    expect(await project.run("required.cjs")).toBe("true function\n");
  });

  test("files that exports does not name are not to be had", async () => {
    await project.write("inner.js", `import("millrace/dist/options.js").catch((error) => console.log(error.code));`);
    expect(await project.run("inner.js")).toBe("ERR_PACKAGE_PATH_NOT_EXPORTED\n");
  });
});

describe("running", () => {
  const program = (engine: string) => `
    import { openMillrace } from "millrace";
    import decoder from "./decoder.js";
    const mill = await openMillrace({ mounts: { "/data": "file:./data" }, cache: { memory: "16MiB" }, engine: ${JSON.stringify(engine)} });
    const dataset = await mill.dataset("/data", { fields: { bytes: "bytes", label: "int32" } });
    const loader = dataset.loader({ batchSize: 4, shuffle: { seed: 1 }, workers: ${engine === "worker" ? 1 : 0}, decode: decoder });
    const rows = [];
    for await (const batch of loader.epoch(0))
      for (let row = 0; row < batch.size; row++) rows.push([batch.keys[row], batch.columns.first.data[row], batch.columns.label.data[row]]);
    await mill.writeFile("memory://scratch/note", "kept");
    const note = new TextDecoder().decode(await mill.readFile("memory://scratch/note"));
    await mill.close();
    console.log(JSON.stringify({ count: dataset.sampleCount, classes: dataset.classes, rows: rows.sort(), note }));
  `;
  beforeAll(async () => {
    for (const [label, name] of ["cat", "dog"].entries()) {
      await mkdir(join(project.folder, "data", name), { recursive: true });
      for (let i = 0; i < 5; i++) await writeFile(join(project.folder, "data", name, `${i}.bin`), Uint8Array.of(10 * label + i, 7));
    }
    await project.write(
      "decoder.js",
      `import { defineDecoder } from "millrace";
       export default defineDecoder(import.meta, {
         output: { first: "uint8", label: "int32" },
         decode: ({ bytes, label }) => ({ first: bytes[0], label }),
       });`,
    );
  });

  test.each(["worker", "inline"])(
    "an epoch with the %s engine, and the process ends by itself",
    async (engine) => {
      await project.write(`epoch-${engine}.js`, program(engine));
      const result = JSON.parse(await project.run(`epoch-${engine}.js`)) as {
        count: number;
        classes: string[];
        rows: unknown[][];
        note: string;
      };
      expect(result).toMatchObject({ count: 10, classes: ["cat", "dog"], note: "kept" });
      expect(result.rows.map(([, first, label]) => [first, label])).toEqual(
        [0, 1].flatMap((label) => [0, 1, 2, 3, 4].map((i) => [10 * label + i, label])),
      );
    },
    SLOW_MS,
  );
});

test(
  "README's quick start runs",
  async () => {
    await project.write("quick-start.mjs", SHOWN[0]!);
    const lines = (await project.run("quick-start.mjs")).trimEnd().split("\n");
    expect(lines[0]).toBe("900 samples to train on, 100 to check, of even,odd");
    expect(lines.slice(1).map((line) => line.replace(/with .*/, ""))).toEqual([0, 1].map((epoch) => `epoch ${epoch} of 15 steps begins `));
  },
  SLOW_MS,
);

test("the command line runs", async () => {
  const { bin, version } = project.manifest as unknown as { bin: { millrace: string }; version: string };
  const program = join("node_modules/millrace", bin.millrace);
  expect(await readFile(join(project.folder, program), "utf8")).toMatch(/^#!\/usr\/bin\/env node\n/);
  expect(await project.run(program, "--version")).toBe(`${version}\n`);
});

describe("types", () => {
  const consumer = `
    import { defineDecoder, MillraceError, type MillraceErrorCode, openDataset, openMillrace, type LoaderState, type MillraceOptions } from "millrace";
    import { image } from "millrace/decode";
    import { feeds } from "millrace/onnx";
    import { storeContract } from "millrace/testing";
    import { tfDataset } from "millrace/tfjs";

    type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
    const same = <A, B>(_: Same<A, B>): void => {};

    const decoder = defineDecoder(import.meta, {
      output: { pixels: { dtype: "float32", shape: [3, 8, 8] }, ids: { dtype: "int64", shape: [null] } },
      decode: async (sample: { image: Uint8Array }, { random }) => ({
        pixels: await image(sample.image, { size: 8, flip: random() < 0.5 }),
        ids: BigInt64Array.of(1n),
      }),
    });
    const options: MillraceOptions = { mounts: { "/a": "s3://b/a" }, cache: { memory: "1GiB" }, engine: "inline" };
    const mill = await openMillrace(options);
    const data = await mill.dataset("/a", { fields: { image: "bytes", label: "int32", name: "utf8" } });
    const plain = data.loader({ batchSize: 2 });
    for await (const batch of plain.epoch(0)) {
      same<typeof batch.columns.label.data, Int32Array<ArrayBuffer>>(true);
      same<ReturnType<typeof batch.columns.name.at>, string>(true);
      const state: LoaderState = batch.state;
      JSON.stringify(state);
      // @ts-expect-error not a field
      batch.columns.other;
    }
    const decoded = data.loader({ batchSize: 2, decode: decoder });
    for await (const batch of decoded.epoch(0)) {
      same<typeof batch.columns.pixels.data, Float32Array<ArrayBuffer>>(true);
      same<typeof batch.columns.ids.values, BigInt64Array<ArrayBuffer>>(true);
      void feeds({ Tensor: class { constructor(readonly type: string, readonly data: object, readonly dims: readonly number[]) {} } } as never, batch, { input: "pixels" });
    }
    for await (const sample of data) same<typeof sample.label, number>(true);
    // @ts-expect-error no such option
    data.loader({ batchSize: 2, shufle: true });
    await using opened = await openDataset("file:./x", { fields: { bytes: "bytes" } });
    same<typeof opened.fields.bytes, "bytes">(true);
    const code: MillraceErrorCode = new MillraceError("MILLRACE_CONFIG", "").code;
    void [code, storeContract, tfDataset];
  `;
  const options = { strict: true, skipLibCheck: false, target: "es2022", lib: ["es2023", "esnext.disposable"], types: ["node"] };

  test.each([
    ["nodenext", true],
    ["nodenext", false],
    ["bundler", true],
  ])(
    "a consumer compiles, declaration files checked (%s, exactOptionalPropertyTypes %s)",
    async (resolution, exact) => {
      await project.write("consumer.ts", consumer);
      const module = resolution === "bundler" ? "esnext" : resolution;
      const compilerOptions = { ...options, module, moduleResolution: resolution, exactOptionalPropertyTypes: exact };
      expect(await project.typecheck(["consumer.ts"], compilerOptions)).toBe("");
    },
    SLOW_MS,
  );

  test(
    "README's other programs compile",
    async () => {
      expect(SHOWN).toHaveLength(4);
      const state = "import type { LoaderState } from 'millrace'; declare const saved: LoaderState;";
      const functions = [
        "declare const save: (state: LoaderState) => Promise<void>;",
        "declare const step: (images: Float32Array, labels: Int32Array) => Promise<void>;",
      ];
      await project.write("training.ts", [state, ...functions, SHOWN[1]].join("\n"));
      await project.write("jpeg-decoder.ts", SHOWN[2]!);
      const run = [
        "import type { Batch, Millrace, NamedTensor } from 'millrace';",
        "declare const mill: Millrace, tensors: NamedTensor[], batch: Batch<{ x: 'bytes' }>, steps: number;",
      ];
      await project.write("resuming.ts", [...run, SHOWN[3]].join("\n"));
      const compilerOptions = { ...options, module: "nodenext", moduleResolution: "nodenext" };
      expect(await project.typecheck(["training.ts", "resuming.ts"], compilerOptions)).toBe("");
    },
    SLOW_MS,
  );

  test(
    "a mistake is reported",
    async () => {
      await project.write("mistake.ts", `import { openMillrace } from "millrace"; await openMillrace({ engine: "steam" });`);
      const messages = await project.typecheck(["mistake.ts"], { ...options, module: "nodenext", moduleResolution: "nodenext" });
      expect(messages).toContain("steam");
    },
    SLOW_MS,
  );
});

/** Holds the documents to the code: options and defaults, metrics, codes, rooms, scripts and links. */
import { existsSync } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { describe, expect, test } from "vitest";
import { METRICS } from "../../src/diagnostics.js";
import { DEFAULTS, type Defaults } from "../../src/options.js";
import { formatBytes } from "../../src/util/byte-size.js";
import { ROOMS } from "../support/rooms.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const read = (path: string) => readFile(join(ROOT, path), "utf8");
const API = ts.createSourceFile("api.ts", await read("src/api.ts"), ts.ScriptTarget.Latest);

interface Row {
  /** Without backticks. */
  readonly name: string;
  readonly cells: readonly string[];
}

/** The rows of the table below the heading that contains `heading`. */
function rowsBelow(text: string, heading: string): Row[] {
  const section = text.split(/^(?=#+ )/m).find((part) => part.split("\n", 1)[0]!.includes(heading));
  if (section === undefined) throw new Error(`no heading has ${heading}`);
  const lines = section.split("\n").filter((line) => line.startsWith("|"));
  return lines.slice(2).map((line) => {
    const cells = line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim());
    return { name: cells[0]!.replaceAll("`", ""), cells };
  });
}

/** Names of an interface's members; of an object type within it as `member.inner`. */
function membersOf(name: string): string[] {
  const found = API.statements.find((node): node is ts.InterfaceDeclaration => ts.isInterfaceDeclaration(node) && node.name.text === name);
  if (found === undefined) throw new Error(`api.ts has no interface ${name}`);
  const inherited = (found.heritageClauses ?? []).flatMap(({ types }) => types.map(({ expression }) => expression.getText(API)));
  return [...found.members.flatMap((member) => namesOf(member)), ...inherited.flatMap(membersOf)];
}
function namesOf(member: ts.TypeElement): string[] {
  const name = member.name!.getText(API);
  const type = ts.isPropertySignature(member) ? member.type : undefined;
  const parts: readonly ts.TypeNode[] = type !== undefined && ts.isUnionTypeNode(type) ? type.types : [];
  const literal = parts.find((part): part is ts.TypeLiteralNode => ts.isTypeLiteralNode(part));
  if (literal === undefined) return [name];
  const inner = literal.members.flatMap((member) => namesOf(member).map((innerName) => `${name}.${innerName}`));
  // Where it may be a word as well, it has a row of its own.
  return parts.some((part) => ts.isLiteralTypeNode(part)) ? [name, ...inner] : inner;
}

describe("configuration.md", async () => {
  const text = await read("docs/configuration.md");

  test.each([
    "MillraceOptions",
    "MountOptions",
    "S3Options",
    "S3Credentials",
    "ModuleRef",
    "CacheOptions",
    "DiskCacheOptions",
    "LimitOptions",
    "DatasetOptions",
    "LoaderOptions",
    "ShuffleOptions",
    "PrefetchOptions",
  ])("has every option of %s and no other", (name) => {
    expect(
      rowsBelow(text, `\`${name}\``)
        .map((row) => row.name)
        .sort(),
    ).toEqual(membersOf(name).sort());
  });

  /** Where each default is written, and how. */
  const written: { readonly [K in keyof Defaults]: readonly [section: string, option: string, text: string] } = {
    memoryShare: ["CacheOptions", "memory", `1/${1 / DEFAULTS.memoryShare} of the memory limit`],
    blockSize: ["CacheOptions", "blockSize", formatBytes(DEFAULTS.blockSize)],
    metadataTtlMs: ["CacheOptions", "metadata.ttl", `${DEFAULTS.metadataTtlMs / 60_000} minutes`],
    metadataBytes: ["CacheOptions", "metadata.memory", formatBytes(DEFAULTS.metadataBytes)],
    highWatermark: ["DiskCacheOptions", "highWatermark", String(DEFAULTS.highWatermark)],
    lowWatermark: ["DiskCacheOptions", "lowWatermark", String(DEFAULTS.lowWatermark)],
    concurrency: ["LimitOptions", "concurrency", String(DEFAULTS.concurrency)],
    hedge: ["LimitOptions", "hedge", String(DEFAULTS.hedge)],
    maxRecordBytes: ["LimitOptions", "maxRecordBytes", formatBytes(DEFAULTS.maxRecordBytes)],
    lanes: ["LoaderOptions", "lanes", String(DEFAULTS.lanes)],
    windowBytes: ["ShuffleOptions", "window", formatBytes(DEFAULTS.windowBytes)],
    decodeTimeoutMs: ["LoaderOptions", "decodeTimeout", `${DEFAULTS.decodeTimeoutMs / 1000} s`],
  };
  test.each(Object.entries(written))("states the default %s", (_, [section, option, value]) => {
    const row = rowsBelow(text, `\`${section}\``).find(({ name }) => name === option);
    expect(row?.cells[2]?.split(" (")[0]?.split(", ")[0]).toBe(value);
  });
  test("the defaults checked are all there are", () => expect(Object.keys(written).sort()).toEqual(Object.keys(DEFAULTS).sort()));
});

describe("metrics.md", async () => {
  const text = await read("docs/metrics.md");

  test("has the figures of mill.stats() as diagnostics.ts has them", () => {
    const rows = rowsBelow(text, "`mill.stats()`").map(({ name, cells }) => [name, ...cells.slice(1)]);
    expect(rows).toEqual(METRICS.map(({ group, name, unit, meaning }) => [`${group}.${name}`, unit, meaning]));
  });

  test("has the figures of loader.stats()", () => {
    expect(rowsBelow(text, "`loader.stats()`").map(({ name }) => name)).toEqual(membersOf("LoaderStats"));
  });

  test("names no figure that there is not", () => {
    const known = new Set(METRICS.map(({ group, name }) => `${group}.${name}`));
    const groups = [...new Set(METRICS.map(({ group }) => group))].join("|");
    const named = [...text.matchAll(new RegExp(`\`((?:${groups})\\.\\w+)\``, "g"))].map((match) => match[1]!);
    expect(named.length).toBeGreaterThan(METRICS.length);
    expect(named.filter((name) => !known.has(name) && !/^cache\.(disk|memory)/.test(name))).toEqual([]);
  });
});

describe("troubleshooting.md", () => {
  test("has every error code and no other", async () => {
    const codes = /`MILLRACE_\$\{(.*?)\}`/
      .exec(await read("src/errors.ts"))![1]!
      .match(/\w+/g)!
      .map((code) => `MILLRACE_${code}`);
    expect(codes.length).toBeGreaterThan(10);
    const rows = rowsBelow(await read("docs/troubleshooting.md"), "Errors by code");
    expect(rows.map(({ name }) => name).sort()).toEqual(codes.sort());
    for (const { name, cells } of rows)
      expect(
        cells.slice(1).every((cell) => cell !== ""),
        name,
      ).toBe(true);
  });
});

test("architecture.md has the rooms in the order that the import graph is held to", async () => {
  const rows = rowsBelow(await read("docs/architecture.md"), "The rooms");
  expect(rows.map(({ name }) => name.split(" ").map((room) => room.replace(/\/$/, "")))).toEqual(ROOMS);
});

describe("all documents", async () => {
  const inDocs = (await readdir(join(ROOT, "docs"))).filter((name) => name.endsWith(".md")).map((name) => `docs/${name}`);
  const documents = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", ...inDocs];
  /** The anchor that a heading gets on GitHub. */
  const anchorOf = (heading: string) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-");

  test("docs/README.md lists every page", async () => {
    const index = await read("docs/README.md");
    for (const page of inDocs) if (page !== "docs/README.md") expect(index).toContain(`(${page.slice("docs/".length)})`);
  });

  test.each(documents)("links of %s lead to files and headings that are there", async (document) => {
    const links = [...(await read(document)).matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1]!);
    for (const link of links.filter((to) => !/^https?:/.test(to))) {
      const [path, anchor] = link.split("#") as [string, string | undefined];
      const target = path === "" ? document : join(dirname(document), path);
      expect(existsSync(join(ROOT, target)), `${link} in ${document}`).toBe(true);
      if (anchor === undefined) continue;
      const headings = [...(await read(target)).matchAll(/^#+ (.*)$/gm)].map((match) => anchorOf(match[1]!));
      expect(headings, `${link} in ${document}`).toContain(anchor);
    }
  });

  test.each(documents)("%s names only npm scripts that there are", async (document) => {
    const { scripts } = JSON.parse(await read("package.json")) as { scripts: Record<string, string> };
    const named = [...(await read(document)).matchAll(/\bnpm run ([\w:-]+)/g)].map((match) => match[1]!);
    expect(named.filter((name) => !(name in scripts))).toEqual([]);
  });
});

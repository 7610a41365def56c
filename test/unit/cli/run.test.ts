/** What the command line makes of its words: help, and one line with exit code 2 for what does not fit. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run } from "../../../src/cli/run.js";
import { KeptConsole } from "../../support/cli/console.js";

let folder: string;
const configs: Record<string, string> = {};
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-cli-"));
  const peers = { listen: "127.0.0.1:0", discover: "127.0.0.1:9" };
  for (const [name, value] of Object.entries({
    empty: {},
    lone: { engine: "inline", cache: { memory: 0 }, peers },
    mistaken: { engine: "steam", cahce: {}, peers },
  })) {
    configs[name] = join(folder, `${name}.json`);
    await writeFile(configs[name], JSON.stringify(value));
  }
});
afterAll(() => rm(folder, { recursive: true }));

async function millrace(...words: string[]) {
  const console = new KeptConsole();
  return { code: await run(words, {}, console), out: console.outLines, err: console.errLines };
}

describe("help", () => {
  it.each([[[]], [["--help"]], [["-h"]]])("names every command: %j", async (words) => {
    const { code, out, err } = await millrace(...words);
    expect([code, err]).toEqual([0, []]);
    expect(out.filter((line) => /^ {2}(serve|locate|prefetch|peers) /.test(line))).toHaveLength(4);
  });

  it.each(["serve", "locate", "prefetch", "peers"])("of %s names its flags", async (name) => {
    const { code, out } = await millrace(name, "--help");
    expect(code).toBe(0);
    expect(out[0]).toMatch(new RegExp(`^millrace ${name}`));
    expect(out.join("\n")).toMatch(/--config <file>[\s\S]*--json/);
  });

  it("tells the version", async () => {
    const { version } = JSON.parse(await readFile(new URL("../../../package.json", import.meta.url), "utf8"));
    expect(await millrace("--version")).toEqual({ code: 0, out: [version], err: [] });
  });
});

describe("what does not fit is one line, and exit code 2", () => {
  it.each<[string, string[], RegExp]>([
    ["another command", ["mill"], /^millrace mill: no such command; there are serve, locate, prefetch, peers$/],
    ["a name of Object's", ["toString"], /^millrace toString: no such command/],
    ["another flag", ["peers", "--all"], /^millrace peers: Unknown option '--all'/],
    ["too few words", ["locate"], /^millrace locate: expected millrace locate <prefix>$/],
    ["too many", ["peers", "x"], /^millrace peers: expected millrace peers$/],
    ["no configuration", ["peers", "--config", "/none/x.json"], /^millrace peers: \/none\/x\.json: cannot be read \(ENOENT\)/],
    [
      "options that do not fit, each by name",
      ["serve", "--config", "mistaken"],
      /^millrace serve: .*cahce: no such option.*(MILLRACE_CONFIG)/,
    ],
    ["no peers", ["locate", "/a", "--config", "empty"], /^millrace locate: the configuration has no peers/],
    ["nothing to serve", ["serve", "--config", "empty"], /^millrace serve: the configuration has no peers\.listen/],
    [
      "a format there is not",
      ["locate", "/a", "--format", "xml", "--config", "lone"],
      /^millrace locate: --format: expected table or k8s-affinity/,
    ],
    [
      "a scope there is not",
      ["prefetch", "/a", "--scope", "world", "--config", "lone"],
      /--scope: expected cluster or process, got world$/,
    ],
    ["a part beyond the last", ["prefetch", "/a", "--part", "3/3", "--config", "lone"], /--part: expected i\/n .* got 3\/3$/],
    ["no priority", ["prefetch", "/a", "--priority", "high", "--config", "lone"], /--priority: expected a whole number, got high$/],
    ["nowhere to keep it", ["prefetch", "/a", "--config", "empty"], /the configuration has no cache\.disk/],
  ])("%s", async (_what, words, message) => {
    const { code, out, err } = await millrace(...words.map((word, i) => (words[i - 1] === "--config" ? (configs[word] ?? word) : word)));
    expect([code, out]).toEqual([2, []]);
    expect(err).toEqual([expect.stringMatching(message)]);
  });
});

it("a failure is one line, and exit code 1: nobody answers", async () => {
  for (const words of [
    ["locate", "/a"],
    ["prefetch", "/a"],
  ]) {
    const { code, out, err } = await millrace(...words, "--config", configs.lone!);
    expect([code, out]).toEqual([1, []]);
    expect(err.at(-1)).toMatch(/^millrace \w+: no peer answers \(http:\/\/127\.0\.0\.1:9: .*\(MILLRACE_UNAVAILABLE\)$/);
  }
  const { code, out } = await millrace("peers", "--config", configs.lone!);
  expect(code).toBe(1);
  expect(out).toHaveLength(2);
  expect(out[1]).toMatch(/^- +http:\/\/127\.0\.0\.1:9 +stranger +- +- /);
});

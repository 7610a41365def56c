import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Longer than the demo takes on a busy machine, milliseconds; one that does not end by itself is killed, and fails. */
const LIMIT_MS = 90_000;

interface Ended {
  readonly code: number | string | null | undefined;
  readonly output: string;
  readonly errors: string;
}

function demo(...parameters: string[]): Promise<Ended> {
  // A rank that this process may itself have must not reach the demo, nor what makes a program think that it is tested.
  const { RANK: _rank, WORLD_SIZE: _world, VITEST: _vitest, NODE_ENV: _env, NODE_OPTIONS: _options, ...env } = process.env;
  return new Promise((resolve) => {
    const command = ["--import", "tsx", "examples/demo/main.ts", ...parameters];
    execFile(process.execPath, command, { cwd: ROOT, env, timeout: LIMIT_MS, killSignal: "SIGKILL" }, (error, output, errors) =>
      resolve({ code: error === null ? 0 : error.code, output, errors }),
    );
  });
}

describe("the demo, small", () => {
  let ended: Ended;
  beforeAll(async () => {
    ended = await demo("--samples", "1500", "--epochs", "2");
  }, LIMIT_MS + 10_000);

  it("ends well, and nothing but its own lines is seen", () => {
    expect({ code: ended.code, errors: ended.errors }).toEqual({ code: 0, errors: "" });
    for (const line of ended.output.split("\n")) expect(line.length, line).toBeLessThanOrEqual(100);
  });

  it("reads the dataset from the origin once, then from memory", () => {
    const [, samples, dataset] = /^ {2}dataset +16 shards, ([\d,]+) samples, (\d+\.\d MB); opened and indexed/m.exec(ended.output)!;
    expect(samples).toBe("1,500");
    const rows = [...ended.output.matchAll(/^ +(\d) .*% +(\d+\.\d MB) +(\d+\.\d MB)$/gm)];
    expect(rows.map(([, epoch, , sent]) => [epoch, sent])).toEqual([
      ["0", dataset],
      ["1", "0.0 MB"],
    ]);
    expect(rows[1]![2]).not.toBe("0.0 MB");
  });

  it("goes on in another process where it stopped, in the same order", () => {
    // 1,500 samples in batches of 128 are 11 whole steps: six before the stop, five after it.
    expect(ended.output).toMatch(/^ {2}stopped +in epoch 2, after step 6 of 11$/m);
    expect(ended.output).toMatch(/^ {2}state +\{"version":1,.*"epoch":2,"position":768\}$/m);
    expect(ended.output).toMatch(/^ {2}resumed +in process \d+: 768 \+ 640 samples, the order is that of an epoch without a stop$/m);
  });
});

describe("the demo, misused", () => {
  it.each([
    [["--epocs", "3"], "Unknown option '--epocs'"],
    [["--samples", "many"], "--samples: expected a whole number from 1, got many"],
    [["--endpoint", "http://127.0.0.1:9"], "--endpoint needs --bucket"],
  ])(
    "%s: says what is wrong and which options there are",
    async (parameters, message) => {
      const { code, output, errors } = await demo(...parameters);
      expect({ code, output }).toEqual({ code: 2, output: "" });
      expect(errors.split("\n")[0]).toContain(message);
      expect(errors).toContain("npm run demo -- [options]");
    },
    LIMIT_MS,
  );
});

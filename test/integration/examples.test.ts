import { spawn } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Longer than any example takes on a busy machine; one that does not end by itself is killed, and fails. */
const LIMIT_MS = 60_000;

let scratch: string;
beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), "millrace-examples-"));
});
afterAll(() => rm(scratch, { recursive: true }));

/** What one example printed and how it ended. Its temporary files go to `scratch`, so that what it leaves behind is seen. */
function run(name: string, limitMs = LIMIT_MS): Promise<{ code: number | null; lines: string[]; errors: string }> {
  // A rank that this process may itself have must not reach the examples.
  const { RANK: _rank, WORLD_SIZE: _world, VITEST: _vitest, NODE_OPTIONS: _options, ...env } = process.env;
  const child = spawn(process.execPath, ["--import", "tsx", `examples/${name}/main.ts`], {
    cwd: ROOT,
    env: { ...env, TMPDIR: scratch },
    stdio: ["ignore", "pipe", "pipe"],
    timeout: limitMs,
    killSignal: "SIGKILL",
  });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors += text;
  });
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, lines: output.trimEnd().split("\n"), errors }));
  });
}

/** Runs the example, which must end well and leave nothing behind; resolves to the lines that it printed. */
async function linesOf(name: string, limitMs?: number): Promise<string[]> {
  const { code, lines, errors } = await run(name, limitMs);
  expect({ code, errors: code === 0 ? "" : errors }).toEqual({ code: 0, errors: "" });
  expect((await readdir(scratch)).filter((file) => file.startsWith("millrace"))).toEqual([]);
  return lines;
}

describe("examples", { timeout: 2 * LIMIT_MS }, () => {
  it("quick-start", async () => {
    const lines = await linesOf("quick-start");
    expect(lines[0]).toBe("1000 samples in 4 shards");
    const beginnings = lines.filter((line) => /^epoch \d begins with (\d{6}, ){2}\d{6}$/.test(line)).map((line) => line.slice(20));
    expect(new Set(beginnings).size).toBe(2);
    expect(lines.filter((line) => /^epoch [01]: 1000 rows in 8 steps, pi is about 3\.\d\d?$/.test(line))).toHaveLength(2);
    const [, origin, memory] = /^from the origin (\d+) bytes, from memory (\d+) bytes$/.exec(lines.at(-1)!)!;
    // 250 samples of two members a shard, a header and a content block each.
    expect(Number(origin)).toBeLessThanOrEqual(4 * (250 * 4 + 2) * 512);
    expect(Number(memory)).toBeGreaterThan(0);
  });

  it("train-tfjs", async () => {
    const lines = await linesOf("train-tfjs");
    expect(lines).toContain("training on 1600 pictures, validating on 400");
    for (const epoch of [0, 1, 2])
      expect(lines).toContainEqual(
        expect.stringMatching(`^epoch ${epoch}: loss \\d\\.\\d{3}, accuracy \\d\\.\\d{3}, on validation \\d\\.\\d{3}$`),
      );
    expect(lines.at(-1)).toBe("the model tells lying bars from standing ones");
  });

  it("infer-onnx", async () => {
    const lines = await linesOf("infer-onnx");
    expect(lines).toContain("60 of 60 pictures are of the colour of their folder");
    expect(lines).toContain("scores agree with the reference");
    expect(lines.at(-1)).toMatch(/^60 lines written, the first: \{"key":"[^"]+","label":"blue","scores":\[0\.\d+,0\.\d+,0\.\d+\]\}$/);
  });

  it("resume-after-crash", async () => {
    const lines = await linesOf("resume-after-crash");
    // 500 samples in batches of 16 are 32 steps an epoch; the 43rd step is the eleventh of epoch 1, and 40 were saved.
    expect(lines.filter((line) => line.startsWith("ended with"))).toEqual([
      "ended with exit code 0",
      "ended with SIGKILL",
      "ended with exit code 0",
    ]);
    expect(lines).toContain("saved last: epoch 1, 128 samples used");
    expect(lines).toContain("epoch 1 begins at step 8 of 32");
    expect(lines).toContain("40 steps kept, 3 done again, 24 after the restart");
    expect(lines.at(-1)).toBe("the order of samples is unbroken");
  });

  // Twenty-two processes, one after the other.
  it("resume", { timeout: 6 * LIMIT_MS }, async () => {
    const lines = await linesOf("resume", 5 * LIMIT_MS);
    expect(lines[0]).toBe("left alone: 160 steps");
    expect(lines.at(-2)).toMatch(/^killed 20 times, \d+ of its steps trained again$/);
    expect(lines.at(-1)).toBe("the weights are the same");
  });

  it("multi-process-ranks", async () => {
    const lines = await linesOf("multi-process-ranks");
    const sizes = [251, 251, 251, 250];
    for (const [rank, size] of sizes.entries())
      expect(lines).toContainEqual(expect.stringMatching(`^rank ${rank}: ${size} samples in 8 steps, beginning with \\d{6}$`));
    expect(lines.at(-1)).toBe("every sample exactly once");
  });

  it("ddp", async () => {
    const lines = await linesOf("ddp");
    // Two epochs of 1,024 samples, in global batches of 32.
    for (const rank of [0, 1]) expect(lines).toContain(`rank ${rank}: 1024 rows in 64 steps, some of them from the other`);
    expect(lines.slice(-2)).toEqual(["both ranks in step, in the global order of one", "two ranks and one come to the same model"]);
  });

  it("own-store", async () => {
    const lines = await linesOf("own-store");
    // Twenty of them: 21 bytes each, and one more from "Review 10" on.
    expect(lines[0]).toBe("436 bytes of bad reviews");
    expect(lines).toContain("60 reviews, classes bad and good");
    expect(lines).toContain("60 reviews say what their folder says");
    expect(lines.at(-1)).toMatch(/^MILLRACE_NOT_FOUND: .*good\/999\.txt/);
  });
});

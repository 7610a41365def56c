import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import type { Section } from "../../bench/scale-sim/cluster.js";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

describe("bench/scale-sim", () => {
  it("runs small, and its tables hold what must hold at any scale", async () => {
    const parameters = ["--import", "tsx", "bench/scale-sim/run.ts", "--small", "--json"];
    const { stdout } = await promisify(execFile)(process.execPath, parameters, { cwd: ROOT, maxBuffer: 2 ** 24 });
    const sections = JSON.parse(stdout) as Section[];
    const rowsOf = (title: string) => sections.find((section) => section.title.startsWith(title))!.rows;
    for (const { rows } of sections) expect(rows.length).toBeGreaterThan(0);
    for (const row of rowsOf("Groups that change hands")) expect(row["needless moves"]).toBe(0);
    for (const row of rowsOf("Origin reads")) {
      expect(row["k·f = 1.5"]).toBe(0);
      expect(row["k·f = 0.5"]).toBeLessThanOrEqual(0.54);
    }
    for (const row of rowsOf("One hot range")) expect(row["origin reads"]).toBe(1);
    for (const row of rowsOf("Traffic")) expect(row["burst at 64 MiB"]).toBeLessThan(row["burst at 8 MiB"] as number);
  });
});

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readConfig } from "../../../src/cli/config.js";
import { UsageError } from "../../../src/cli/usage.js";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "millrace-cli-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function config(value: unknown): Promise<string> {
  const path = join(folder, "millrace.config.json");
  await writeFile(path, typeof value === "string" ? value : JSON.stringify(value));
  return path;
}

describe("a configuration", () => {
  it("is the options, with what the environment and files say in them", async () => {
    await writeFile(join(folder, "ca.pem"), "-- ca --\n");
    const path = await config({
      mounts: { "/a": "s3://a", $env: "s3://b" },
      cache: { disk: [{ path: { $env: "DISK" }, capacity: 1 }] },
      peers: { secret: { $env: "SECRET" }, tls: { ca: { $file: "ca.pem" } }, labels: { env: "prod", file: "x" }, weight: 2 },
    });
    expect(await readConfig(path, { SECRET: "s", DISK: "/d" })).toEqual({
      mounts: { "/a": "s3://a", $env: "s3://b" },
      cache: { disk: [{ path: "/d", capacity: 1 }] },
      peers: { secret: "s", tls: { ca: "-- ca --" }, labels: { env: "prod", file: "x" }, weight: 2 },
    });
  });

  it.each<[string, unknown, RegExp]>([
    ["no JSON", "{", /millrace\.config\.json: /],
    ["no object", "[]", /expected an object of options$/],
    ["a variable that is not set", { peers: { secret: { $env: "NONE" } } }, /peers\.secret: the environment variable NONE is not set$/],
    ["an empty one", { s3: [{ $env: "EMPTY" }] }, /s3\[0\]: the environment variable EMPTY is not set$/],
    ["no name", { s3: { $env: 5 } }, /s3\.\$env: expected a name$/],
    ["a file that is not there", { s3: { $file: "none" } }, /none: cannot be read \(ENOENT\): s3$/],
  ])("with %s is refused by name", async (_what, value, message) => {
    const reading = readConfig(await config(value), { EMPTY: "" });
    await expect(reading).rejects.toThrow(UsageError);
    await expect(reading).rejects.toThrow(message);
  });
});

import { afterEach, beforeEach, expect, it } from "vitest";
import { ProbeServer } from "../../../src/peers/probe-server.js";
import { freePort } from "../../support/peers/daemon.js";

let port: number;
let probes: ProbeServer;
beforeEach(async () => {
  port = await freePort();
  probes = await ProbeServer.start(`127.0.0.1:${port}`);
});
afterEach(() => probes.close());

async function answer(path: string): Promise<[number, string]> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return [response.status, await response.text()];
}

it("says that the process lives, and whether it serves", async () => {
  expect(await answer("/healthz")).toEqual([200, "ok"]);
  expect(await answer("/readyz")).toEqual([200, "ready"]);
  probes.notReady();
  expect(await answer("/healthz")).toEqual([200, "ok"]);
  expect(await answer("/readyz")).toEqual([503, "not ready"]);
});

it("answers nothing else", async () => {
  for (const path of ["/", "/v1/peer", "/v1/blocks/0/0", "/metrics", "/healthz/", "/readyz?x"])
    expect(await answer(path)).toEqual([404, ""]);
});

it("refuses an address that is none or taken, and names the option", async () => {
  const taken = `127.0.0.1:${port}`;
  await expect(ProbeServer.start(taken)).rejects.toMatchObject({
    code: "MILLRACE_CONFIG",
    message: expect.stringContaining(`peers.health: cannot listen at ${taken}`),
  });
  await expect(ProbeServer.start("node1")).rejects.toMatchObject({
    code: "MILLRACE_CONFIG",
    message: expect.stringMatching(/^peers\.health: /),
  });
});

it("can be closed twice, and then nothing listens", async () => {
  await Promise.all([probes.close(), probes.close()]);
  await expect(answer("/healthz")).rejects.toThrow();
  await (await ProbeServer.start(`127.0.0.1:${port}`)).close();
});

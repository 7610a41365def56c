import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { expect, it } from "vitest";
import { metricsText, serveMetrics } from "../../../src/cli/metrics.js";
import { UsageError } from "../../../src/cli/usage.js";

it("names figures by group, and leaves text out", () => {
  expect(metricsText({ origin: { inFlight: 3, bytes: 1e12 }, peers: { members: 2, who: "me" } })).toBe(
    "millrace_origin_in_flight 3\nmillrace_origin_bytes 1000000000000\nmillrace_peers_members 2\n",
  );
});

it("refuses an address that is none, or taken", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const { port } = taken.address() as AddressInfo;
  for (const listen of ["9090", "a:b", ":70000", `127.0.0.1:${port}`]) {
    const serving = serveMetrics(listen, () => ({}));
    await expect(serving, listen).rejects.toThrow(UsageError);
    await expect(serving, listen).rejects.toThrow(/^--metrics: /);
  }
  taken.close();
});

it("answers until it is ended", async () => {
  const end = await serveMetrics("127.0.0.1:0", () => ({}));
  await end();
});

import { expect, test, vi } from "vitest";
import { parseDiscover } from "../../../../src/peers/discovery/discover-spec.js";
import { openDiscovery } from "../../../../src/peers/discovery/discovery.js";
import { announcement } from "../../../support/peers/discovery.js";
import { LineLog } from "../../../support/peers/log.js";

vi.mock("@redis/client", () => {
  throw new Error("Cannot find package");
});

test("without the optional package the first look says what to install, and there is no other", async () => {
  const discovery = openDiscovery(parseDiscover(["redis://:S3CRET@127.0.0.1:1", "10.0.0.2:7070"]), announcement("me"), {
    log: new LineLog(),
  });
  await expect(discovery.ready).rejects.toMatchObject({
    code: "MILLRACE_CONFIG",
    message: 'peers.discover: redis:// needs the package "@redis/client": npm install @redis/client',
  });
  expect(discovery.stats()).toMatchObject([{ engine: "redis://127.0.0.1:1/0", looks: 1, failures: 1, failing: true }]);
  expect(discovery.members()).toEqual([{ host: "10.0.0.2", port: 7070 }]);
  await discovery.close();
});

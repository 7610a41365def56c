import { expect, test } from "vitest";
import { parseDiscover } from "../../../../src/peers/discovery/discover-spec.js";
import { openDiscovery } from "../../../../src/peers/discovery/discovery.js";
import { LineLog } from "../../../support/peers/log.js";

const self = { id: "me", url: "http://10.0.0.1:7070", weight: 1, labels: {}, version: 1 };

test("addresses written out are there at once, this process left out", async () => {
  const discovery = openDiscovery(parseDiscover(["10.0.0.1:7070,10.0.0.2:7070", "10.0.0.3:7070,10.0.0.2:7070"]), self, {
    log: new LineLog(),
  });
  expect(discovery.members()).toEqual([
    { host: "10.0.0.2", port: 7070 },
    { host: "10.0.0.3", port: 7070 },
  ]);
  await discovery.ready;
  expect(discovery.stats()).toEqual([]);
  await discovery.close();
});

test("an address that others cannot use is refused", () => {
  expect(() => openDiscovery([], { ...self, url: "10.0.0.1" }, { log: new LineLog() })).toThrow(/^peers.advertise: expected host:port/);
});

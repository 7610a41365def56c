import { expect, onTestFinished, vi } from "vitest";
import { parseDiscover } from "../../../src/peers/discovery/discover-spec.js";
import { type Discovery, openDiscovery } from "../../../src/peers/discovery/discovery.js";
import { LOOK_LIMIT_MS } from "../../../src/peers/discovery/engine-watch.js";
import type { Announcement } from "../../../src/peers/discovery/found-peer.js";
import { IN_TIME } from "../in-time.js";
import { ManualClock } from "../manual-clock.js";
import { LineLog } from "./log.js";

export interface TestDiscovery {
  readonly clock: ManualClock;
  readonly log: LineLog;
  readonly discovery: Discovery;
  /** Lets the pause pass and waits for the end of the look that follows. */
  nextLook(): Promise<void>;
  /** `host port id` of each member. */
  found(): string[];
  /** Whether it is between two looks. */
  isPausing(): boolean;
}

export function announcement(id: string, address = "10.0.0.1:7070"): Announcement {
  return { id, url: `http://${address}`, weight: 1, labels: {}, version: 1 };
}

/** Discovery by one engine whose time the test moves; after its first look. Closed with the test. */
export async function openOne(uri: string, self: Announcement = announcement("me"), announces = true): Promise<TestDiscovery> {
  const clock = new ManualClock();
  const log = new LineLog();
  const discovery = openDiscovery(parseDiscover(uri), self, { log, clock, random: () => 0.5, announces });
  onTestFinished(() => discovery.close());
  // A look has one sleep, too: its limit.
  const isPausing = () => clock.pending === 1 && clock.sleeps.at(-1) !== LOOK_LIMIT_MS;
  await discovery.ready;
  await vi.waitFor(() => expect(isPausing()).toBe(true), IN_TIME);
  const nextLook = async () => {
    const { looks } = discovery.stats()[0]!;
    await clock.advance(clock.sleeps.at(-1)!);
    await vi.waitFor(() => expect(discovery.stats()[0]!.looks > looks && isPausing()).toBe(true), IN_TIME);
  };
  const found = () => discovery.members().map(({ host, port, id }) => [host, port, id].join(" ").trim());
  return { clock, log, discovery, nextLook, found, isPausing };
}

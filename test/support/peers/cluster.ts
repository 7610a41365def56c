/** Mills of one process that share a cache before an origin that counts. */
import { expect, vi } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace } from "../../../src/index.js";
import { IN_TIME } from "../in-time.js";
import type { OriginInfo } from "../origin/index.js";
import { s3Options } from "../s3-options.js";
import { freePort } from "./daemon.js";

export const SECRET = "of all nodes";

/** Tests count bytes: on a machine that stands still for a while no peer is to pass for dead. */
export const PATIENT = "20s";

/** The options of one node: a mount of the whole origin bucket `data`, blocks of 64 KiB. */
export function nodeOptions(origin: OriginInfo, listen: string | undefined, discover: string): MillraceOptions {
  return {
    engine: "inline",
    mounts: { "/data": "s3://data" },
    s3: s3Options(origin),
    cache: { memory: "64MiB", blockSize: "64KiB" },
    limits: { hedge: 0 },
    peers: { listen, discover, secret: SECRET, timeout: PATIENT },
  };
}

/** Free addresses on loopback. */
export async function addresses(count: number): Promise<string[]> {
  const ports = await Promise.all(Array.from({ length: count }, () => freePort()));
  return ports.map((port) => `127.0.0.1:${port}`);
}

/** As many mills, each of which has found all others. `more`: options of the i-th beyond `nodeOptions`. */
export async function openCluster(
  origin: OriginInfo,
  at: readonly string[],
  more: (i: number) => Partial<MillraceOptions> = () => ({}),
): Promise<Millrace[]> {
  const mills = await Promise.all(at.map((address, i) => openMillrace({ ...nodeOptions(origin, address, at.join(",")), ...more(i) })));
  const members = () => mills.map((mill) => mill.stats().peers!.members);
  await vi.waitFor(() => expect(members()).toEqual(at.map(() => at.length)), { ...IN_TIME, interval: 50 });
  return mills;
}

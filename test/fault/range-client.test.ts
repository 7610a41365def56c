/** Reads that fail and are aborted in every way, over TCP and TLS: once one has settled, its memory is its owner's again. */
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { isMillraceError } from "../../src/errors.js";
import { HttpStore } from "../../src/storage/http-store.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, type Shape, startOrigin } from "../support/origin/index.js";

const BYTES = 3_000_000;
const SLOT = 200_000;
const READS = 120;
const BODY = Buffer.from(Uint8Array.from({ length: BYTES }, (_, i) => (i * 13) >>> 4));

const SHAPES: readonly [string, Shape][] = [
  ["of a sound origin", {}],
  ["of one that cuts, stalls, resets and refuses", { truncateRate: 0.15, stallRate: 0.1, resetRate: 0.1, errorRate: 0.1, seed: 3 }],
];

/** Equal draws in every run. */
function draws(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

for (const tls of [false, true])
  describe(tls ? "TLS" : "TCP", () => {
    let origin: Origin;
    beforeAll(async () => {
      origin = await startOrigin({ anonymousRead: true, tls });
      await origin.put("b", "o", BODY);
    });
    afterEach(() => vi.unstubAllEnvs());
    afterAll(() => origin?.close());

    it.each(SHAPES)("aborted reads %s", async (_name, shape) => {
      if (tls) vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
      await origin.shape({});
      // A sound one may still stand still for a moment, with all of its machine.
      const store = new HttpStore(origin.endpoint, shape.seed === undefined ? {} : { connectMs: 2000, headMs: 500, stallMs: 300 });
      const object = await store.stat("b/o");
      await origin.shape({ ...shape, connectionBytesPerSecond: 20e6 });
      const slots = Array.from({ length: 12 }, () => new Uint8Array(new SharedArrayBuffer(SLOT)));
      const random = draws(tls ? 1 : 2);
      const seen = { whole: 0, aborted: 0, failed: 0 };
      let next = 0;
      const lane = async (slot: Uint8Array): Promise<void> => {
        while (next++ < READS) {
          const length = 1 + Math.floor(random() * SLOT);
          const begin = Math.floor(random() * (BYTES - length));
          const middle = Math.floor(random() * length);
          const controller = new AbortController();
          if (random() < 0.5) setTimeout(() => controller.abort(), random() * 15);
          const targets = [slot.subarray(0, middle), slot.subarray(middle, length)];
          const error: unknown = await store.readInto(object, begin, targets, { signal: controller.signal }).catch((e: unknown) => e);
          if (error === undefined) {
            expect(BODY.subarray(begin, begin + length).equals(slot.subarray(0, length))).toBe(true);
            seen.whole++;
          } else if (isMillraceError(error, "MILLRACE_ABORTED")) seen.aborted++;
          else {
            expect(isMillraceError(error, "MILLRACE_UNAVAILABLE") || isMillraceError(error, "MILLRACE_TIMEOUT")).toBe(true);
            seen.failed++;
          }
          // From here on the memory is ours: whoever writes to it now is seen.
          slot.fill(0xee);
          await sleep(random() * 4);
          expect(slot.every((byte) => byte === 0xee)).toBe(true);
        }
      };
      await Promise.all(slots.map(lane));
      expect(seen.whole).toBeGreaterThan(0);
      expect(seen.aborted).toBeGreaterThan(0);
      if (shape.seed === undefined) expect(seen.failed).toBe(0);
      else expect(seen.failed).toBeGreaterThan(0);
      await store.close();
      await vi.waitFor(async () => expect((await origin.stats()).inFlight).toBe(0), IN_TIME);
    });
  });

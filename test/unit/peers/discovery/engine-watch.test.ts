import { expect, test, vi } from "vitest";
import { MillraceError } from "../../../../src/errors.js";
import type { Engine, Finding } from "../../../../src/peers/discovery/engine.js";
import { EngineWatch, LOOK_LIMIT_MS, SETTLE_MS } from "../../../../src/peers/discovery/engine-watch.js";
import { deferred } from "../../../../src/util/deferred.js";
import { ManualClock } from "../../../support/manual-clock.js";
import { LineLog } from "../../../support/peers/log.js";

const peers = [{ host: "a", port: 1 }];

/** An engine that does with each look what the test says, the last of it again and again. */
function scripted(...steps: ((signal: AbortSignal) => Promise<Finding> | Finding)[]) {
  const clock = new ManualClock();
  const log = new LineLog();
  const calls = { looks: 0, found: 0, closed: 0, unwatched: 0, changed: () => {} };
  const engine: Engine = {
    name: "engine",
    find: async (signal) => steps[Math.min(calls.looks++, steps.length - 1)]!(signal),
    watch: (changed) => {
      calls.changed = changed;
      return () => calls.unwatched++;
    },
    close: async () => {
      calls.closed++;
    },
  };
  const watch = new EngineWatch(engine, () => calls.found++, { log, clock, random: () => 1 - Number.EPSILON });
  return { clock, log, calls, watch };
}
const finds = () => ({ peers, againMs: 5_000 });
const fails = (): Finding => {
  throw new MillraceError("MILLRACE_UNAVAILABLE", "engine: no answer");
};
/** Until the first look is over and the pause after it has begun. */
async function firstLook(watch: EngineWatch, clock: ManualClock): Promise<void> {
  await watch.ready;
  await clock.advance(0);
}
/** What the pauses were, in whole milliseconds; limits of looks left out. */
const pauses = (clock: ManualClock) => clock.sleeps.filter((ms) => ms !== LOOK_LIMIT_MS).map(Math.round);

test("looks again when the engine says so, and keeps its list", async () => {
  const { clock, calls, watch } = scripted(finds, () => ({ peers: [], againMs: 7_000 }));
  await firstLook(watch, clock);
  expect(watch.peers).toBe(peers);
  await clock.advance(4_999);
  expect(calls.looks).toBe(1);
  await clock.advance(1);
  expect(calls).toMatchObject({ looks: 2, found: 2 });
  expect(watch.peers).toEqual([]);
  expect(pauses(clock)).toEqual([5_000, 7_000]);
  await watch.close();
});

test("failures are retried ever more seldom, told once, and the last list holds", async () => {
  const { clock, log, calls, watch } = scripted(finds, ...Array.from({ length: 8 }, () => fails), finds);
  await firstLook(watch, clock);
  await clock.advance(60_000);
  expect(pauses(clock).slice(1, 9)).toEqual([500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000, 10_000]);
  expect(watch.peers).toBe(peers);
  expect(calls.looks).toBeGreaterThan(9);
  expect(watch.figures()).toMatchObject({ failures: 8, failing: false, lastError: "engine: no answer", peers: 1 });
  expect(log.of("warn")).toEqual(['warn: engine: no answer; the last list of 1 peers stays in use {"engine":"engine","failures":1}']);
  expect(log.of("info")).toEqual(['info: engine answers again: 1 peers {"engine":"engine","peers":1}']);
  expect(log.of("debug")).toHaveLength(7);
  await watch.close();
});

test("a look that does not end is given up, and its late answer is not taken", async () => {
  const late = deferred<Finding>();
  const { clock, watch } = scripted(() => late.promise, finds);
  await clock.advance(LOOK_LIMIT_MS);
  await watch.ready;
  expect(watch.figures()).toMatchObject({ looks: 1, failures: 1, failing: true, lastError: "engine: no answer in 10 s" });
  late.resolve({ peers: [], againMs: 1 });
  await clock.advance(500);
  expect(watch.peers).toBe(peers);
  expect(watch.figures()).toMatchObject({ looks: 2, failures: 1, failing: false });
  await watch.close();
});

test("what never can work rejects, is not asked again and stays in the figures", async () => {
  const { clock, calls, watch } = scripted(() => {
    throw new MillraceError("MILLRACE_CONFIG", "install it");
  });
  await expect(watch.ready).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
  await clock.advance(100_000);
  expect(calls).toMatchObject({ looks: 1, closed: 1 });
  expect(watch.figures()).toMatchObject({ failing: true, lastError: "install it" });
  expect(clock.pending).toBe(0);
  await watch.close();
});

test("a change ends the pause; many at once are one look, and one during a look brings another", async () => {
  const second = deferred<Finding>();
  const { clock, calls, watch } = scripted(finds, () => second.promise, finds);
  await firstLook(watch, clock);
  for (let i = 0; i < 10; i++) calls.changed();
  await clock.advance(0);
  await clock.advance(SETTLE_MS - 1);
  expect(calls.looks).toBe(1);
  await clock.advance(1);
  expect(calls.looks).toBe(2);
  calls.changed();
  second.resolve(finds());
  await clock.advance(0);
  await clock.advance(SETTLE_MS);
  expect(calls.looks).toBe(3);
  await clock.advance(4_999);
  expect(calls.looks).toBe(3);
  await watch.close();
});

test("ignored entries are counted and told when there are some at first", async () => {
  const odd = () => ({ peers, againMs: 1_000, ignored: ["a is odd", "b is odd"] });
  const { clock, log, watch } = scripted(odd, odd, finds, odd);
  await firstLook(watch, clock);
  await clock.advance(1_000);
  expect(log.of("warn")).toEqual(['warn: left out: a is odd; b is odd {"engine":"engine","peers":1,"ignored":2}']);
  expect(watch.figures()).toMatchObject({ ignored: 2, failures: 0, lastError: "b is odd" });
  await clock.advance(1_000);
  expect(watch.figures()).toMatchObject({ ignored: 0 });
  await clock.advance(5_000);
  expect(log.of("warn")).toHaveLength(2);
  await watch.close();
});

test.each(["pause", "look"])("closing in a %s ends it and leaves nothing behind", async (when) => {
  const aborted = vi.fn();
  const hangs = (signal: AbortSignal) => {
    signal.addEventListener("abort", aborted);
    return new Promise<Finding>(() => {});
  };
  const { clock, log, calls, watch } = scripted(finds, hangs);
  await firstLook(watch, clock);
  if (when === "look") await clock.advance(5_000);
  await Promise.all([watch.close(), watch.close()]);
  expect(calls).toMatchObject({ looks: when === "look" ? 2 : 1, closed: 1, unwatched: 1 });
  expect(aborted).toHaveBeenCalledTimes(when === "look" ? 1 : 0);
  expect(clock.pending).toBe(0);
  expect(watch.peers).toBe(peers);
  expect(watch.figures().failures).toBe(0);
  expect(log.lines).toEqual([]);
});

test("closing before the first answer rejects who waits for it", async () => {
  const { watch } = scripted(() => new Promise<Finding>(() => {}));
  await watch.close();
  await expect(watch.ready).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
});

/** Many hedged reads at once, of an origin whose requests answer, fail, hang and end in any order. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { isMillraceError, MillraceError, type MillraceErrorCode } from "../../src/errors.js";
import { newCounters, withCounters } from "../../src/storage/count.js";
import { Hedger, withHedge } from "../../src/storage/hedge.js";
import type { ReadOptions, Store } from "../../src/storage/store.js";
import { ManualClock } from "../support/manual-clock.js";

const BYTES = 4;
const USUAL_MS = 50;
const LATE_MS = 100;
const BURST = 8;
const READS_A_HEDGE = 20;
const OBJECT = { path: "o", size: BYTES, etag: '"v"', lastModified: undefined };

/** What becomes of one request. */
interface Fate {
  /** Until its head, or until it fails without one, milliseconds. */
  readonly headMs: number;
  readonly before: MillraceErrorCode | undefined;
  /** Between two bytes of its body. */
  readonly byteMs: number;
  /** Bytes after which it fails, if ever. */
  readonly failsAfter: number | undefined;
  /** From an abort until its socket is closed; the claimant may write meanwhile. */
  readonly closesMs: number;
}
const seldom = <T>(arbitrary: fc.Arbitrary<T>) => fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, arbitrary);
const fate: fc.Arbitrary<Fate> = fc.record({
  headMs: fc.oneof(
    { weight: 3, arbitrary: fc.constant(USUAL_MS) },
    fc.nat(LATE_MS),
    fc.integer({ min: LATE_MS, max: 3 * LATE_MS }),
    fc.constant(30_000),
  ),
  before: seldom(fc.constantFrom<MillraceErrorCode>("MILLRACE_UNAVAILABLE", "MILLRACE_TIMEOUT", "MILLRACE_CHANGED")),
  byteMs: fc.nat(60),
  failsAfter: seldom(fc.nat(BYTES - 1)),
  closesMs: fc.nat(20),
});
interface Reader {
  readonly startMs: number;
  readonly fates: readonly [Fate, Fate];
  readonly granted: boolean;
  readonly abortMs: number | undefined;
}
const reader: fc.Arbitrary<Reader> = fc.record({
  startMs: fc.nat(400),
  fates: fc.tuple(fate, fate),
  granted: fc.oneof({ weight: 5, arbitrary: fc.constant(true) }, fc.constant(false)),
  abortMs: seldom(fc.nat(3 * LATE_MS)),
});

/** A store whose requests of one read meet the fates given for it, and what it saw of them. */
class FatefulStore implements Store {
  readonly uri = "s3://b";
  readonly #clock: ManualClock;
  readonly fates = new Map<Uint8Array, readonly Fate[]>();
  readonly sent = new Map<Uint8Array, { at: number; head: boolean; running: boolean }[]>();

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  list(): never {
    throw new Error("not listed");
  }

  async stat() {
    return OBJECT;
  }

  async readInto(_object: unknown, _begin: number, targets: readonly Uint8Array[], options: ReadOptions = {}): Promise<void> {
    const target = targets[0]!;
    const requests = this.sent.get(target) ?? [];
    this.sent.set(target, requests);
    const mine = { at: this.#clock.now(), head: false, running: true };
    requests.push(mine);
    const fates = this.fates.get(target)!;
    const { headMs, before, byteMs, failsAfter, closesMs } = fates[requests.length - 1]!;
    const id = requests.length;
    try {
      await this.#clock.sleep(headMs, options.signal);
      if (before !== undefined) throw new MillraceError(before, `request ${id}`);
      mine.head = true;
      if (options.claim?.() === false) return;
      for (let i = 0; i < BYTES; i++) {
        if (failsAfter === i) throw new MillraceError("MILLRACE_UNAVAILABLE", `request ${id}`);
        target[options.progress!.received] = id;
        options.progress!.received++;
        await this.#clock.sleep(byteMs, options.signal);
      }
    } catch (error) {
      await this.#clock.sleep(closesMs);
      throw error;
    } finally {
      mine.running = false;
    }
  }
}

test("any number of reads: one claim, bytes of one request, an end after both, and few hedges", async () => {
  const hedged = { reads: 0, wins: 0 };
  const property = fc.asyncProperty(fc.array(reader, { minLength: 1, maxLength: 40 }), async (readers) => {
    const clock = new ManualClock();
    const counters = newCounters();
    const bare = new FatefulStore(clock);
    const store = withHedge(withCounters(bare, counters), new Hedger(counters, 1 / READS_A_HEDGE, undefined, clock));
    const usual = { headMs: USUAL_MS, before: undefined, byteMs: 0, failsAfter: undefined, closesMs: 0 };
    const learning = Array.from({ length: 160 }, () => {
      const target = new Uint8Array(BYTES);
      bare.fates.set(target, [usual]);
      return store.readInto(OBJECT, 0, [target], { progress: { received: 0 } });
    });
    await clock.advance(USUAL_MS);
    await Promise.all(learning);
    const learnt = { ...counters };
    let received = 0;
    const run = async ({ startMs, fates, granted, abortMs }: Reader): Promise<() => void> => {
      await clock.sleep(startMs);
      const target = new Uint8Array(BYTES);
      bare.fates.set(target, fates);
      const controller = new AbortController();
      if (abortMs !== undefined) void clock.sleep(abortMs).then(() => controller.abort());
      const progress = { received: 0 };
      let claims = 0;
      const claim = () => {
        claims++;
        return granted;
      };
      const options = { signal: controller.signal, progress, claim };
      const error: unknown = await store.readInto(OBJECT, 0, [target], options).then(
        () => undefined,
        (e: unknown) => e,
      );
      const requests = bare.sent.get(target)!;
      expect(requests.map(({ running }) => running)).toEqual(requests.map(() => false));
      expect(claims).toBe(requests.some(({ head }) => head) ? 1 : 0);
      const filled = [...target].filter((byte) => byte !== 0);
      expect(new Set(filled).size).toBeLessThanOrEqual(1);
      expect(filled).toHaveLength(progress.received);
      if (error === undefined && granted) expect(filled).toHaveLength(BYTES);
      if (claims === 1 && !granted) expect(filled).toHaveLength(0);
      if (error !== undefined) expect(isMillraceError(error)).toBe(true);
      if (requests.length === 2) expect(requests[1]!.at - requests[0]!.at).toBeGreaterThanOrEqual(LATE_MS);
      received += progress.received;
      const seen = [...target];
      return () => expect([...target]).toEqual(seen);
    };
    const reads = Promise.all(readers.map(run));
    await clock.advance(100_000);
    for (const untouched of await reads) untouched();
    const hedges = counters.hedges - learnt.hedges;
    expect(counters.reads - learnt.reads).toBe(readers.length + hedges);
    expect(hedges).toBeLessThanOrEqual(BURST + readers.length / READS_A_HEDGE);
    expect(counters.hedgeWins).toBeLessThanOrEqual(hedges);
    expect(counters.bytes - learnt.bytes).toBe(received);
    expect(clock.pending).toBe(0);
    hedged.reads += hedges;
    hedged.wins += counters.hedgeWins;
  });
  // The counts below are of all runs: with 60 of them some three seeds in a thousand fell short.
  await fc.assert(property, { numRuns: 120 });
  expect(hedged.reads).toBeGreaterThan(60);
  expect(hedged.wins).toBeGreaterThan(30);
});

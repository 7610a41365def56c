import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { inOrder } from "../../../src/checkpoint/read-ahead.js";
import { type Deferred, deferred } from "../../../src/util/deferred.js";

/** Jobs that end when they are told to, or when their signal fires. */
function jobsOf(sizes: readonly number[]) {
  const started: number[] = [];
  const ended: number[] = [];
  const results: Deferred<number>[] = sizes.map(() => deferred<number>());
  const jobs = sizes.map((bytes, i) => ({
    bytes,
    run: async (signal: AbortSignal) => {
      started.push(i);
      signal.addEventListener("abort", () => results[i]!.reject(new Error("aborted")));
      try {
        return await results[i]!.promise;
      } finally {
        ended.push(i);
      }
    },
  }));
  return { jobs, results, started, ended };
}

describe("inOrder", () => {
  test("results come in the order of the jobs, whichever ends first", async () => {
    const { jobs, results } = jobsOf([1, 1, 1]);
    for (const i of [2, 1, 0]) results[i]!.resolve(i);
    const seen: number[] = [];
    for await (const result of inOrder(jobs, 10)) seen.push(result);
    expect(seen).toEqual([0, 1, 2]);
  });

  test("as many bytes are started as may be ahead, and two jobs at least", async () => {
    const { jobs, results, started } = jobsOf([4, 4, 4, 4, 50, 50, 50]);
    for (const [i, result] of results.entries()) result.resolve(i);
    const taken = inOrder(jobs, 12);
    await taken.next();
    expect(started).toEqual([0, 1, 2]);
    await taken.next();
    expect(started).toEqual([0, 1, 2, 3]);
    for (let i = 0; i < 3; i++) await taken.next();
    expect(started).toEqual([0, 1, 2, 3, 4, 5]);
    await taken.return();
  });

  test("the first failure is what is thrown, and ends the others before it is", async () => {
    const { jobs, results, ended } = jobsOf([1, 1, 1]);
    const next = inOrder(jobs, 10).next();
    await turn();
    results[2]!.reject(new Error("the one"));
    await expect(next).rejects.toThrow("the one");
    expect(ended).toEqual([2, 0, 1]);
  });

  test("who leaves early waits until nothing runs any more", async () => {
    const { jobs, results, started, ended } = jobsOf([1, 1, 1]);
    results[0]!.resolve(0);
    for await (const _ of inOrder(jobs, 2)) break;
    expect([started, ended]).toEqual([
      [0, 1],
      [0, 1],
    ]);
  });

  test("a signal ends the jobs", async () => {
    const { jobs } = jobsOf([1, 1]);
    const controller = new AbortController();
    const next = inOrder(jobs, 10, controller.signal).next();
    await turn();
    controller.abort();
    await expect(next).rejects.toThrow("aborted");
  });

  test("no jobs are no results", async () => {
    expect(await inOrder([], 10).next()).toEqual({ done: true, value: undefined });
  });
});

import { expect, it } from "vitest";
import { Turns } from "../../../src/engine/save-turns.js";
import { deferred } from "../../../src/util/deferred.js";

it("turns of one name come one after the other, those of others at once; one that ends early lets nobody pass before its time", async () => {
  const turns = new Turns();
  const [a, b, c, other] = [turns.take("n"), turns.take("n"), turns.take("n"), turns.take("m")];
  const ready: string[] = [];
  for (const [name, turn] of Object.entries({ a, b, c, other })) void turn.ready.then(() => ready.push(name));
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  await settle();
  expect(ready).toEqual(["a", "other"]);
  b.end();
  await settle();
  expect(ready).toEqual(["a", "other"]);
  a.end();
  await settle();
  expect(ready).toEqual(["a", "other", "b", "c"]);
  expect([a, b, c, other].map(({ number }) => number)).toEqual([0, 1, 2, 3]);
});

it("turns of one root are taken in the order of the calls, and do not wait for other roots, nor for ever", async () => {
  const turns = new Turns();
  const never = new AbortController();
  const name = (found: string) => found;
  const found: string[] = [];
  const enter = (root: string, result: Promise<string>, signal = new AbortController().signal) =>
    turns.enter(root, () => result, name, signal).then(({ turn }) => found.push(`${turn.name} ${turn.number}`));
  const late = deferred<string>();
  const given = enter("r", late.promise, never.signal);
  const [second, third] = [enter("r", Promise.resolve("b")), enter("r", Promise.resolve("a"))];
  await enter("other", Promise.resolve("c"));
  expect(found).toEqual(["c 0"]);
  never.abort();
  await expect(given).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  expect(found).toEqual(["c 0"]);
  late.resolve("a");
  await Promise.all([second, third]);
  expect(found).toEqual(["c 0", "b 2", "a 3"]);
  // The turn that was given up has ended: the next of its name is ready.
  await turns.take("d").ready;
  const next = turns.take("a");
  expect(next.number).toBe(5);
});

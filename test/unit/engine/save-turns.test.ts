import { expect, it } from "vitest";
import { Turns } from "../../../src/engine/save-turns.js";

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

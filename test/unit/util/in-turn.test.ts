import { expect, it } from "vitest";
import { inTurn } from "../../../src/util/in-turn.js";

it("runs every step after the one before, and throws the first failure at the end", async () => {
  const said: string[] = [];
  const step =
    (name: string, fails = false) =>
    async () => {
      said.push(`${name} begins`);
      await new Promise((resolve) => setImmediate(resolve));
      said.push(`${name} ends`);
      if (fails) throw new Error(name);
    };
  const atOnce = () => {
    throw new Error("at once");
  };
  await expect(inTurn([step("a"), step("b", true), atOnce, step("c")])).rejects.toThrow("b");
  expect(said).toEqual(["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]);
  await expect(inTurn([step("d")])).resolves.toBeUndefined();
});

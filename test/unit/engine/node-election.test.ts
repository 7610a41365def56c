import { expect, it } from "vitest";
import { Election } from "../../../src/engine/node-election.js";
import { ManualClock } from "../../support/manual-clock.js";

/** Processes of one node: who of them has the lock is a variable. */
function node() {
  const clock = new ManualClock();
  const held: { by: string | undefined } = { by: undefined };
  const said: string[] = [];
  const failing = new Set<string>();
  const process = (name: string) => {
    const lock = {
      tryTake: async () => {
        held.by ??= name;
        return held.by === name;
      },
      kept: async () => held.by === name,
      drop: async () => {
        if (held.by === name) held.by = undefined;
      },
    };
    const enter = async (elected: boolean) => {
      if (elected && failing.has(name)) throw new Error("the address is taken");
      said.push(`${name} ${elected ? "listens" : "asks"}`);
    };
    return new Election({ lock, enter, log: (level, _fields, message) => said.push(`${level} ${message}`), clock });
  };
  return { clock, held, said, failing, process };
}

it("one process listens, and another when it has closed", async () => {
  const { clock, held, said, process } = node();
  const [a, b] = [process("a"), process("b")];
  await a.open();
  await b.open();
  await clock.advance(5_000);
  expect(said).toEqual(["a listens", "b asks"]);
  expect([a.elected, b.elected]).toEqual([true, false]);
  await a.close(async () => {
    // While it ends its part nobody else may take it up.
    expect(held.by).toBe("a");
    said.push("a left");
  });
  await clock.advance(1_000);
  expect(said.slice(2)).toEqual(["a left", "b listens", "info This process listens for peers now"]);
  await b.close(async () => {});
  expect([held.by, clock.pending]).toEqual([undefined, 0]);
});

it("one that has lost the lock while it stood still only asks from then on", async () => {
  const { clock, held, said, process } = node();
  const a = process("a");
  await a.open();
  held.by = "b";
  await clock.advance(1_000);
  expect(said).toEqual(["a listens", "a asks", "info Another process of this node listens for peers now"]);
  held.by = undefined;
  await clock.advance(1_000);
  expect(a.elected).toBe(true);
  await a.close(async () => {});
});

it("where it cannot listen it gives the lock back, goes on as before, and tries again", async () => {
  const { clock, held, said, failing, process } = node();
  held.by = "frozen";
  const a = process("a");
  await a.open();
  failing.add("a");
  held.by = undefined;
  await clock.advance(1_000);
  expect([held.by, a.elected]).toEqual([undefined, false]);
  expect(said).toEqual(["a asks", "warn This process was to listen for peers, and cannot"]);
  failing.clear();
  await clock.advance(1_000);
  expect(a.elected).toBe(true);
  await a.close(async () => {});
});

it("the first one's failure is the caller's, and leaves no lock", async () => {
  const { held, failing, process } = node();
  failing.add("a");
  await expect(process("a").open()).rejects.toThrow("the address is taken");
  expect(held.by).toBeUndefined();
});

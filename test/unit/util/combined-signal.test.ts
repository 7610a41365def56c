import { expect, test } from "vitest";
import { combinedSignal, manyListeners } from "../../../src/util/combined-signal.js";

test("fires with the first of its signals, with its reason", () => {
  const first = new AbortController();
  const second = new AbortController();
  const combined = combinedSignal(first.signal, undefined, second.signal);
  expect(combined.aborted).toBe(false);
  second.abort("second");
  first.abort("first");
  expect(combined.reason).toBe("second");
  expect(combinedSignal(AbortSignal.abort("before")).reason).toBe("before");
  expect(combinedSignal(undefined).aborted).toBe(false);
});

test("may be waited on by many without Node's warning of a leak", async () => {
  const warned: string[] = [];
  const onWarning = ({ name }: Error) => warned.push(name);
  process.on("warning", onWarning);
  const crowd = async (signal: AbortSignal) => {
    for (let i = 0; i < 20; i++) signal.addEventListener("abort", () => {});
    await new Promise((resolve) => setImmediate(resolve));
    return warned.splice(0);
  };
  const { signal } = new AbortController();
  expect(manyListeners(signal)).toBe(signal);
  expect([await crowd(signal), await crowd(combinedSignal(signal))]).toEqual([[], []]);
  expect(await crowd(new AbortController().signal)).toEqual(["MaxListenersExceededWarning"]);
  process.off("warning", onWarning);
});

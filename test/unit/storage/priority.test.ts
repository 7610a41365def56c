import { expect, it, vi } from "vitest";
import { Priority, priorityValue } from "../../../src/storage/priority.js";

it("only ever becomes more urgent, and tells each listener once a raise", () => {
  const priority = new Priority(2);
  const [first, second] = [vi.fn(), vi.fn()];
  const stop = priority.onRaise(first);
  priority.onRaise(second);
  priority.raise(2);
  priority.raise(5);
  expect(priority.value).toBe(2);
  expect(first).not.toHaveBeenCalled();
  priority.raise(1);
  stop();
  priority.raise(0);
  expect(priority.value).toBe(0);
  expect([first.mock.calls.length, second.mock.calls.length]).toEqual([1, 2]);
});

it("a listener may leave while it is told", () => {
  const priority = new Priority(2);
  const second = vi.fn();
  const stop = priority.onRaise(() => stop());
  priority.onRaise(second);
  priority.raise(0);
  expect(second).toHaveBeenCalledTimes(1);
});

it("a plain number is a priority that stays", () => {
  expect([priorityValue(3), priorityValue(new Priority(4))]).toEqual([3, 4]);
});

it("a listener whom another's turn has made leave is not told", () => {
  const priority = new Priority(2);
  const second = vi.fn();
  let leave = (): unknown => undefined;
  priority.onRaise(() => leave());
  leave = priority.onRaise(second);
  priority.raise(0);
  expect(second).not.toHaveBeenCalled();
});

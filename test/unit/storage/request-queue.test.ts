import fc from "fast-check";
import { expect, it } from "vitest";
import { goesBefore, type Queued, RequestQueue } from "../../../src/storage/request-queue.js";

it("gives what is in it by priority and arrival, whatever was put in and taken out on the way", () => {
  const actions = fc.array(fc.record({ act: fc.constantFrom("insert", "insert", "remove", "shift"), priority: fc.nat(3), pick: fc.nat() }));
  fc.assert(
    fc.property(actions, (list) => {
      const queue = new RequestQueue<Queued>();
      let model: Queued[] = [];
      for (const [arrival, { act, priority, pick }] of list.entries()) {
        if (act === "insert") {
          const request = { priority, arrival };
          queue.insert(request);
          model = [...model, request].sort((a, b) => a.priority - b.priority || a.arrival - b.arrival);
        } else if (act === "shift") expect(queue.shift()).toBe(model.shift());
        else if (model.length > 0) queue.remove(model.splice(pick % model.length, 1)[0]!);
        expect(queue.length).toBe(model.length);
        expect(queue.head).toBe(model[0]);
      }
      for (let i = 1; i < model.length; i++) expect(goesBefore(model[i - 1]!, model[i]!)).toBe(true);
      while (model.length > 0) expect(queue.shift()).toBe(model.shift());
    }),
  );
});

it("what is not in the queue is not taken out, nor is another in its stead", () => {
  const queue = new RequestQueue<{ priority: number; arrival: number }>();
  const [gone, stays] = [
    { priority: 1, arrival: 0 },
    { priority: 1, arrival: 1 },
  ];
  queue.insert(gone);
  queue.insert(stays);
  expect(queue.shift()).toBe(gone);
  expect(queue.remove(gone)).toBe(false);
  expect([queue.length, queue.head]).toEqual([1, stays]);
  expect(queue.remove(stays)).toBe(true);
});

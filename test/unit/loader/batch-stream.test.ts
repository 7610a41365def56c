import type { MessagePort } from "node:worker_threads";
import { expect, test } from "vitest";
import { MillraceError } from "../../../src/errors.js";
import { BatchStream } from "../../../src/loader/batch-stream.js";
import type { BatchMessage, EngineClient, RunLoader } from "../../../src/loader/protocol.js";
import { deferred } from "../../../src/util/deferred.js";

/** An engine of which the test sees the run's port and settles the run's call. */
function fakeEngine() {
  const result = deferred<unknown>();
  let port: MessagePort | undefined;
  let holds = 0;
  const client: EngineClient = {
    call: (_, args) => {
      port = (args as RunLoader).port;
      return result.promise;
    },
    hold: () => {
      holds++;
      return () => holds--;
    },
  };
  return { client, result, port: () => port!, holds: () => holds };
}
const stats = {} as BatchMessage["stats"];
const batch = (step: number) => ({
  t: "batch",
  epoch: 0,
  step,
  next: { epoch: 0, position: 0 },
  last: false,
  batch: { byteLength: 1 },
  stats,
});
const START = { loaderId: 1, epoch: 0, position: 0, until: 1 };

test("a failure that overtakes the batches before it comes after them", async () => {
  const { client, result, port } = fakeEngine();
  const stream = new BatchStream(client, START, () => {});
  for (const step of [0, 1, 2]) port().postMessage(batch(step));
  result.reject(new MillraceError("MILLRACE_CORRUPT", "bad"));
  const steps: number[] = [];
  for (let i = 0; i < 3; i++) steps.push((await stream.next(undefined))!.step);
  expect(steps).toEqual([0, 1, 2]);
  await expect(stream.next(undefined)).rejects.toMatchObject({ code: "MILLRACE_CORRUPT" });
  await stream.ended;
});

test("the process is held while the loop waits, and from a stop to the end of the run", async () => {
  const { client, result, port, holds } = fakeEngine();
  const stream = new BatchStream(client, START, () => {});
  expect(holds()).toBe(0);
  const next = stream.next(undefined);
  expect(holds()).toBe(1);
  port().postMessage(batch(0));
  await next;
  expect(holds()).toBe(0);
  stream.stop();
  stream.stop();
  expect(holds()).toBe(1);
  port().close();
  result.resolve(undefined);
  await stream.ended;
  await Promise.resolve();
  expect(holds()).toBe(0);
});

test("a signal that has fired already ends the wait before it begins", async () => {
  const { client, result, port } = fakeEngine();
  const stream = new BatchStream(client, START, () => {});
  await expect(stream.next(AbortSignal.abort(new Error("long ago")))).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
  port().close();
  result.resolve(undefined);
  await stream.ended;
});

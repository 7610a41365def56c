import { getEventListeners, once } from "node:events";
import { MessageChannel, type MessagePort } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { type CallContext, type Handlers, Rpc, Transfer } from "../../../src/engine/rpc.js";
import { MillraceError } from "../../../src/errors.js";
import { type Deferred, deferred } from "../../../src/util/deferred.js";

interface Pair {
  readonly near: Rpc;
  readonly far: Rpc;
  readonly nearPort: MessagePort;
  readonly farPort: MessagePort;
}
const open: Rpc[] = [];
afterEach(() => {
  for (const rpc of open.splice(0)) rpc.close();
});

/** Two ends in one thread. `holds` is the far end's. */
function pair(farHandlers: Handlers, nearHandlers: Handlers = {}, holds = false): Pair {
  const { port1: nearPort, port2: farPort } = new MessageChannel();
  const near = new Rpc(nearPort, nearHandlers);
  const far = new Rpc(farPort, farHandlers, holds);
  open.push(near, far);
  return { near, far, nearPort, farPort };
}

/** `hasRef` tells whether a port keeps its thread alive; newer than the type declarations. */
function holdsThread(port: MessagePort): boolean {
  return (port as unknown as { hasRef(): boolean }).hasRef();
}

/** A handler that ends when the test says so, and tells what became of its signal. */
function held(): {
  handler: (args: unknown, context: CallContext) => Promise<unknown>;
  begun: Deferred<CallContext>;
  end: Deferred<unknown>;
} {
  const begun = deferred<CallContext>();
  const end = deferred<unknown>();
  return {
    begun,
    end,
    handler: (_, context) => {
      begun.resolve(context);
      return end.promise;
    },
  };
}

describe("calls", () => {
  test("both sides answer, with values and promises, each to its own question", async () => {
    const slow = deferred<string>();
    const { near, far } = pair({ double: (n: number) => n * 2, slow: () => slow.promise }, { name: () => "near" });
    const first = near.call("slow", undefined);
    expect(await near.call("double", 21)).toBe(42);
    expect(await far.call("name", undefined)).toBe("near");
    slow.resolve("late");
    expect(await first).toBe("late");
  });

  test("a handler may call back while it serves", async () => {
    const { near, far } = pair({ ask: async () => `${await far.call("name", undefined)}!` }, { name: async () => "near" });
    expect(await near.call("ask", undefined)).toBe("near!");
  });

  test("errors come back with class, code and cause, thrown or rejected", async () => {
    const { near } = pair({
      rejects: async () => {
        throw new MillraceError("MILLRACE_NOT_FOUND", "no such key", { uri: "s3://b/k", cause: new Error("404") });
      },
      throws: () => {
        throw new TypeError("plain");
      },
    });
    const error = await near.call("rejects", undefined).catch((caught) => caught);
    expect(error).toBeInstanceOf(MillraceError);
    expect(error).toMatchObject({ code: "MILLRACE_NOT_FOUND", uri: "s3://b/k", cause: { message: "404" } });
    await expect(near.call("throws", undefined)).rejects.toMatchObject({ name: "TypeError", message: "plain" });
    await expect(near.call("nothing", undefined)).rejects.toThrow("no such method: nothing");
  });

  test("what cannot be cloned fails its call only, on either side", async () => {
    const { near } = pair({ gives: () => () => {}, takes: () => "taken" });
    await expect(near.call("gives", undefined)).rejects.toThrow(/could not be cloned/);
    await expect(near.call("takes", () => {})).rejects.toThrow(/could not be cloned/);
    expect(await near.call("takes", 1)).toBe("taken");
  });

  test("progress arrives in order, before the result, and at its own call", async () => {
    const { near } = pair({
      count: (to: number, context: CallContext) => {
        for (let i = 1; i <= to; i++) context.progress(i);
        return "done";
      },
    });
    const seen: string[] = [];
    const counted = (name: string, to: number) =>
      near.call("count", to, { onProgress: (n: number) => seen.push(`${name}${n}`) }).then((result) => seen.push(`${name} ${result}`));
    await Promise.all([counted("a", 3), counted("b", 1), near.call("count", 2)]);
    expect(seen.filter((line) => line.startsWith("a"))).toEqual(["a1", "a2", "a3", "a done"]);
    expect(seen.filter((line) => line.startsWith("b"))).toEqual(["b1", "b done"]);
  });

  test("memory is handed over where the caller or the handler says so", async () => {
    const given = new Uint8Array([1, 2, 3]);
    const results: Uint8Array[] = [];
    const { near } = pair({
      back: (bytes: Uint8Array) => {
        results.push(bytes);
        return new Transfer(bytes, [bytes.buffer as ArrayBuffer]);
      },
    });
    const came = (await near.call("back", given, { transfer: [given.buffer] })) as Uint8Array;
    expect([...came]).toEqual([1, 2, 3]);
    expect([given.byteLength, results[0]!.byteLength]).toEqual([0, 0]);
  });
});

describe("cancel", () => {
  test("an observer that throws ends its call, and no other", async () => {
    const { handler, begun, end } = held();
    const { near } = pair({ handler, double: (n: number) => n * 2 });
    const cause = new Error("no such bar");
    const call = near.call("handler", undefined, {
      onProgress: () => {
        throw cause;
      },
    });
    const { progress, signal } = await begun.promise;
    progress(1);
    await expect(call).rejects.toMatchObject({ code: "MILLRACE_CONFIG", cause });
    if (!signal.aborted) await once(signal, "abort");
    end.resolve(undefined);
    expect(await near.call("double", 21)).toBe(42);
  });

  test("rejects at once, tells the handler, and its late result is nobody's", async () => {
    const { handler, begun, end } = held();
    const { near } = pair({ work: handler, echo: (value: unknown) => value });
    const controller = new AbortController();
    const reason = new Error("enough");
    const call = near.call("work", undefined, { signal: controller.signal });
    const { signal } = await begun.promise;
    controller.abort(reason);
    await expect(call).rejects.toMatchObject({ code: "MILLRACE_ABORTED", cause: reason });
    if (!signal.aborted) await once(signal, "abort");
    end.resolve("late");
    expect(await near.call("echo", "on time")).toBe("on time");
  });

  test("a signal that has fired before sends nothing", async () => {
    let served = 0;
    const { near } = pair({ work: () => served++, echo: (value: unknown) => value });
    await expect(near.call("work", undefined, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    await near.call("echo", 1);
    expect(served).toBe(0);
  });

  test("a call that has ended leaves no listener, and its signal may fire without harm", async () => {
    let cancelled = false;
    const { near } = pair({
      work: (_: unknown, { signal }: CallContext) => {
        signal.addEventListener("abort", () => {
          cancelled = true;
        });
        return 1;
      },
      echo: (value: unknown) => value,
    });
    const controller = new AbortController();
    await near.call("work", undefined, { signal: controller.signal });
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(0);
    controller.abort();
    await near.call("echo", 1);
    expect(cancelled).toBe(false);
  });
});

describe("close", () => {
  test("the closing side: its calls and its handlers end with the reason", async () => {
    const work = held();
    const wait = held();
    const { near, far } = pair({ work: work.handler }, { wait: wait.handler });
    const calling = near.call("work", undefined);
    const called = far.call("wait", undefined);
    const serving = await wait.begun.promise;
    await work.begun.promise;
    const reason = new MillraceError("MILLRACE_UNAVAILABLE", "gone");
    near.close(reason);
    near.close(new Error("only the first counts"));
    await expect(calling).rejects.toBe(reason);
    expect(serving.signal.reason).toBe(reason);
    await expect(near.call("work", undefined)).rejects.toBe(reason);
    await expect(called).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
  });

  test("the other side: its calls and its handlers end too", async () => {
    const { handler, begun } = held();
    const { near, far } = pair({ work: handler });
    near.call("work", undefined).catch(() => {});
    const { signal } = await begun.promise;
    near.close();
    if (!signal.aborted) await once(signal, "abort");
    expect(signal.reason).toMatchObject({ code: "MILLRACE_CLOSED" });
    await expect(far.call("anything", undefined)).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
  });

  test("a handler that ends after the close disturbs nobody", async () => {
    const { handler, begun, end } = held();
    const { near } = pair({ work: handler });
    const call = near.call("work", undefined);
    const context = await begun.promise;
    near.close();
    await expect(call).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
    context.progress(1);
    end.resolve(new Transfer(new ArrayBuffer(8), []));
    await new Promise((resolve) => setImmediate(resolve));
  });

  test("a message that cannot be read closes the connection: a call would wait for ever", async () => {
    const { handler, begun } = held();
    const { near, nearPort } = pair({ work: handler });
    const call = near.call("work", undefined);
    await begun.promise;
    nearPort.emit("messageerror", new Error("no such class"));
    await expect(call).rejects.toMatchObject({ code: "MILLRACE_CLOSED", cause: { message: "no such class" } });
  });
});

describe("the thread's life", () => {
  test("an idle connection holds nothing; a call in progress does, until the last has ended", async () => {
    const first = held();
    const second = held();
    const { near, nearPort } = pair({ first: first.handler, second: second.handler });
    expect(holdsThread(nearPort)).toBe(false);
    const calls = [near.call("first", undefined), near.call("second", undefined)];
    expect(holdsThread(nearPort)).toBe(true);
    first.end.resolve(1);
    await calls[0];
    expect(holdsThread(nearPort)).toBe(true);
    second.end.reject(new Error("no"));
    await expect(calls[1]).rejects.toThrow("no");
    expect(holdsThread(nearPort)).toBe(false);
  });

  test("`holds` keeps the thread alive while idle, and after calls of its own", async () => {
    const { far, farPort } = pair({}, { name: () => "near" }, true);
    expect(holdsThread(farPort)).toBe(true);
    await far.call("name", undefined);
    expect(holdsThread(farPort)).toBe(true);
  });
});

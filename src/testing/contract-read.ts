import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";
import { assertBytes, type Bench, drawnBytes, failsWith, type StoreCase } from "./contract-bench.js";

const ODD_NAMES = [
  "with space",
  "plus+and&=",
  "percent%20literal%",
  "hash#tag",
  "question?mark=1",
  "quotes'\"`",
  "brackets[]{}()",
  "semi;colon:comma,@!$*",
  "tilde~_-.",
  "dots..in..name",
  "back\\slash",
  "ünïcödé/日本語/😀.tar",
  "a/../b",
  "a//b",
];
/** Larger than socket buffers, so that an abort comes in the middle of the body. */
const LARGE = 12 * 2 ** 20;

export function readCases(bench: Bench): StoreCase[] {
  return [...statCases(bench), ...rangeCases(bench), ...versionCases(bench), ...protocolCases(bench)];
}

function statCases(bench: Bench): StoreCase[] {
  return [
    {
      name: "stat: path, size, an etag, and the same again",
      run: async (store) => {
        const path = await bench.put("stat", drawnBytes(1234));
        const stored = await store.stat(path);
        assert.equal(stored.path, path);
        assert.equal(stored.size, 1234);
        assert.notEqual(stored.etag, "");
        assert.equal((await store.stat(path)).etag, stored.etag);
      },
    },
    {
      name: "a missing object is MILLRACE_NOT_FOUND for stat and readInto",
      run: async (store) => {
        const path = bench.path("missing");
        await assert.rejects(store.stat(path), failsWith("MILLRACE_NOT_FOUND"));
        const object = { path, size: 10, etag: '"none"', lastModified: undefined };
        await assert.rejects(store.readInto(object, 0, [new Uint8Array(5)]), failsWith("MILLRACE_NOT_FOUND"));
      },
    },
    {
      name: "names with spaces, signs and other scripts are taken literally",
      run: async (store) => {
        for (const [i, name] of ODD_NAMES.entries()) {
          if (bench.harness.unsupportedNames?.includes(name)) continue;
          const bytes = drawnBytes(50, i + 1);
          const path = await bench.put(`odd/${i}/${name}`, bytes);
          assertBytes(await bench.read(path), bytes, name);
          if (bench.harness.lists === false) continue;
          const listed: string[] = [];
          for await (const stored of store.list(bench.path(`odd/${i}/`))) listed.push(stored.path);
          assert.deepEqual(listed, [path]);
        }
      },
    },
  ];
}

function rangeCases(bench: Bench): StoreCase[] {
  return [
    {
      name: "readInto: exactly the bytes of the range, at every edge",
      run: async () => {
        const bytes = drawnBytes(1000);
        const path = await bench.put("ranges", bytes);
        const edges = [0, 1, 2, 499, 998, 999, 1000];
        for (const begin of edges)
          for (const end of edges) if (begin <= end) assertBytes(await bench.read(path, begin, end), bytes.slice(begin, end));
      },
    },
    {
      name: "readInto: several targets in order, empty ones among them, and not a byte beside them",
      run: async (store) => {
        const bytes = drawnBytes(200_000);
        const object = await store.stat(await bench.put("targets", bytes));
        const shared = new Uint8Array(new SharedArrayBuffer(210_000)).fill(0xee);
        const lengths = [0, 1, 65_536, 0, 7, 100_000, 0];
        let at = 10;
        const targets = lengths.map((length) => {
          at += length;
          return shared.subarray(at - length, at);
        });
        await store.readInto(object, 5, targets);
        assertBytes(shared.slice(10, at), bytes.slice(5, at - 5));
        assert.ok(shared.subarray(0, 10).every((byte) => byte === 0xee) && shared.subarray(at).every((byte) => byte === 0xee));
      },
    },
    {
      name: "readInto: an object of no bytes, and no bytes of an object",
      run: async (store) => {
        const empty = await store.stat(await bench.put("empty", new Uint8Array(0)));
        assert.equal(empty.size, 0);
        await store.readInto(empty, 0, []);
        await store.readInto(empty, 0, [new Uint8Array(0)]);
        const some = await store.stat(await bench.put("some", drawnBytes(10)));
        await store.readInto(some, 10, [new Uint8Array(0)]);
      },
    },
    {
      name: "readInto: 32 reads at once do not mix",
      run: async (store) => {
        const bytes = drawnBytes(320_000);
        const object = await store.stat(await bench.put("concurrent", bytes));
        const targets = Array.from({ length: 32 }, () => new Uint8Array(10_000));
        await Promise.all(targets.map((target, i) => store.readInto(object, i * 10_000, [target])));
        assertBytes(Buffer.concat(targets), bytes);
      },
    },
  ];
}

function versionCases(bench: Bench): StoreCase[] {
  return [
    {
      name: "an overwritten object has another etag, and reading the old version is MILLRACE_CHANGED",
      run: async (store) => {
        const path = await bench.put("overwritten", drawnBytes(100, 1));
        const old = await store.stat(path);
        await bench.put("overwritten", drawnBytes(100, 2));
        assert.notEqual((await store.stat(path)).etag, old.etag);
        await assert.rejects(store.readInto(old, 0, [new Uint8Array(100)]), failsWith("MILLRACE_CHANGED"));
        assertBytes(await bench.read(path), drawnBytes(100, 2));
      },
    },
    {
      name: "a range beyond the end is MILLRACE_CHANGED: the object was longer when it was listed",
      run: async (store) => {
        const object = await store.stat(await bench.put("shorter", drawnBytes(100)));
        const longer = { ...object, size: 1000 };
        await assert.rejects(store.readInto(longer, 500, [new Uint8Array(10)]), failsWith("MILLRACE_CHANGED"));
        await assert.rejects(store.readInto(longer, 50, [new Uint8Array(100)]), failsWith("MILLRACE_CHANGED"));
      },
    },
  ];
}

function protocolCases(bench: Bench): StoreCase[] {
  return [
    {
      name: "claim: asked once, before the first byte; refused, nothing is written",
      run: async (store) => {
        const bytes = drawnBytes(300_000);
        const object = await store.stat(await bench.put("claim", bytes));
        const target = new Uint8Array(300_000).fill(0xee);
        const answers: boolean[] = [];
        const claim = (answer: boolean) => () => {
          assert.ok(target.every((byte) => byte === 0xee));
          answers.push(answer);
          return answer;
        };
        await store.readInto(object, 0, [target], { claim: claim(false) });
        await setTimeout(20);
        assert.ok(target.every((byte) => byte === 0xee));
        await store.readInto(object, 0, [target], { claim: claim(true) });
        assert.deepEqual(answers, [false, true]);
        assertBytes(target, bytes);
      },
    },
    {
      name: "progress: advanced by the bytes that have landed, from where it stood",
      run: async (store) => {
        const object = await store.stat(await bench.put("progress", drawnBytes(LARGE)));
        const progress = { received: 100 };
        await store.readInto(object, 10, [new Uint8Array(LARGE - 10)], { progress });
        assert.equal(progress.received, 100 + LARGE - 10);
      },
    },
    {
      name: "abort: before the start nothing is written",
      run: async (store) => {
        const object = await store.stat(await bench.put("abort-first", drawnBytes(1000)));
        const target = new Uint8Array(1000).fill(0xee);
        await assert.rejects(store.readInto(object, 0, [target], { signal: AbortSignal.abort() }), failsWith("MILLRACE_ABORTED"));
        await assert.rejects(store.stat(object.path, { signal: AbortSignal.abort() }), failsWith("MILLRACE_ABORTED"));
        await setTimeout(20);
        assert.ok(target.every((byte) => byte === 0xee));
      },
    },
    {
      name: "abort: in the middle of the body, and nothing is written once the read has settled",
      run: async (store) => {
        const bytes = drawnBytes(LARGE);
        const object = await store.stat(await bench.put("abort-middle", bytes));
        const controller = new AbortController();
        let received = 0;
        const progress = {
          get received() {
            return received;
          },
          set received(value: number) {
            received = value;
            controller.abort();
          },
        };
        const target = new Uint8Array(LARGE);
        const settled = await store.readInto(object, 0, [target], { signal: controller.signal, progress }).then(
          () => undefined,
          (error: unknown) => error,
        );
        const before = target.slice();
        // A store that had all its bytes in hand at the first may have succeeded.
        if (settled === undefined) assertBytes(target, bytes);
        else assert.ok(failsWith("MILLRACE_ABORTED")(settled), String(settled));
        await setTimeout(50);
        assertBytes(target, before);
        assertBytes(await bench.read(object.path, LARGE - 10), bytes.slice(-10));
      },
    },
  ];
}

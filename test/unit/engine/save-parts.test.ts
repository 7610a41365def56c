import { afterEach, describe, expect, it } from "vitest";
import { Slab } from "../../../src/blocks/slab.js";
import { Lending, partBytes, SavePart } from "../../../src/engine/save-parts.js";
import type { SaveRoom } from "../../../src/engine/save-protocol.js";

const MIB = 2 ** 20;
const cache = { slab: new Slab(), blockSize: MIB };
const signal = new AbortController().signal;
const bytesOf = (part: SavePart) => Buffer.from(part.joined());

/** Every slot was given back. */
afterEach(() => expect(cache.slab.stats().workingBytes).toBe(0));

describe("SavePart", () => {
  it("has whole blocks, one after the other, the last one as long as it is", () => {
    const part = new SavePart(cache, 0, 3 * MIB + 5);
    expect(part.views.reduce((sum, { length }) => sum + length, 0)).toBe(3 * MIB + 5);
    expect(part.views).toHaveLength(1);
    expect(part.joined()).toBe(part.views[0]);
    part.release();
    expect([partBytes(cache), partBytes({ blockSize: 16 * MIB })]).toEqual([8 * MIB, 16 * MIB]);
  });

  it("in a fragmented slab it has several views, joined in order", () => {
    const slab = new Slab(4 * MIB);
    const slots = Array.from({ length: 4 }, () => slab.allocate(MIB));
    slots[0]!.release();
    slots[2]!.release();
    const part = new SavePart({ slab, blockSize: MIB }, 0, 2 * MIB);
    expect(part.views).toHaveLength(2);
    part.views[0]!.fill(1);
    part.views[1]!.fill(2);
    expect(Buffer.compare(bytesOf(part), Buffer.concat([new Uint8Array(MIB).fill(1), new Uint8Array(MIB).fill(2)]))).toBe(0);
    part.release();
  });
});

describe("Lending", () => {
  it.each(["the engine", "the caller"])("parts come filled, in order, whoever is first: %s", async (first) => {
    const lending = new Lending();
    const parts = lending.parts(cache, 17 * MIB, signal);
    const filled: [number, number, number][] = [];
    const read = async () => {
      for await (const part of parts) {
        const bytes = bytesOf(part);
        filled.push([part.begin, bytes.length, bytes.at(-1)!]);
        part.release();
      }
      lending.end();
    };
    const reading = first === "the engine" ? read() : undefined;
    await new Promise((resolve) => setImmediate(resolve));
    let n = 0;
    const write = async () => {
      for (let room = await lending.next(); room !== undefined; room = await lending.next()) {
        n++;
        // Whoever fills it takes a while.
        await new Promise((resolve) => setImmediate(resolve));
        for (const view of room as readonly Uint8Array[]) view.fill(n);
      }
    };
    const writing = write();
    await new Promise((resolve) => setImmediate(resolve));
    await Promise.all([reading ?? read(), writing]);
    expect(filled).toEqual([
      [0, 8 * MIB, 1],
      [8 * MIB, 8 * MIB, 2],
      [16 * MIB, MIB, 3],
    ]);
  });

  it("a part is handed on when it is filled, also where it is offered before the caller first asks", async () => {
    const lending = new Lending();
    const parts = lending.parts(cache, 8 * MIB, signal);
    let handedOn = false;
    const next = parts.next().then((result) => {
      handedOn = true;
      return result;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(await lending.next()).toHaveLength(1);
    await new Promise((resolve) => setImmediate(resolve));
    expect(handedOn).toBe(false);
    const last = lending.next();
    (await next).value!.release();
    lending.end();
    expect(await last).toBeUndefined();
  });

  it.each(["asks", "writes"])("a caller that %s when the save begins anew is told so, and lent the first bytes again", async (does) => {
    const lending = new Lending();
    const first = lending.parts(cache, 9 * MIB, signal).next();
    expect(await lending.next()).toHaveLength(1);
    let told: Promise<SaveRoom> | undefined;
    if (does === "asks") {
      told = lending.next();
      (await first).value!.release();
    }
    lending.restart();
    const again = lending.parts(cache, 5, signal).next();
    expect(await (told ?? lending.next())).toBe("again");
    if (does === "writes") (await first).value!.release();
    expect((await lending.next())![0]).toHaveLength(5);
    lending.left();
    (await again).value!.release();
    lending.end();
  });

  it("memory that the caller has in hand is not given back before the caller says so", async () => {
    const lending = new Lending();
    const stop = new AbortController();
    const parts = lending.parts(cache, 9 * MIB, stop.signal);
    const next = parts.next();
    next.catch(() => {});
    const room = await lending.next();
    expect(room).toHaveLength(1);
    stop.abort();
    await expect(next).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    lending.end();
    expect(cache.slab.stats().workingBytes).toBe(8 * MIB);
    expect(await lending.next()).toBeUndefined();
    expect(cache.slab.stats().workingBytes).toBe(0);
  });

  it("an offer that is taken when its save is failing is still the caller's own", async () => {
    const lending = new Lending();
    const stop = new AbortController();
    const next = lending.parts(cache, 9 * MIB, stop.signal).next();
    stop.abort();
    await expect(next).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    expect(await lending.next()).toHaveLength(1);
    expect(cache.slab.stats().workingBytes).toBe(8 * MIB);
    lending.end();
    lending.left();
  });

  it("a caller that has left while it asked is lent nothing more", async () => {
    const lending = new Lending();
    const stop = new AbortController();
    const asked = lending.next();
    lending.left();
    const next = lending.parts(cache, 9 * MIB, stop.signal).next();
    next.catch(() => {});
    expect(await asked).toBeUndefined();
    stop.abort();
    await expect(next).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    lending.end();
  });

  it("an offer that nobody took ends with the save", async () => {
    const lending = new Lending();
    const stop = new AbortController();
    const next = lending.parts(cache, 9 * MIB, stop.signal).next();
    next.catch(() => {});
    stop.abort();
    await expect(next).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
    lending.end();
    expect(await lending.next()).toBeUndefined();
    lending.left();
  });
});

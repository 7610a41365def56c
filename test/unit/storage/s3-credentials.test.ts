import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { S3Credentials } from "../../../src/api.js";
import { MillraceError } from "../../../src/errors.js";
import { CredentialCache } from "../../../src/storage/s3-credentials.js";

const MINUTE = 60_000;

beforeEach(() => void vi.useFakeTimers({ toFake: ["Date"] }));
afterEach(() => void vi.useRealTimers());

/** Gives keys 1, 2, …, each living this long; or throws while `failing`. */
function provider(lifeMs: number | undefined) {
  let count = 0;
  const state = { failing: false, calls: 0 };
  const ask = async (): Promise<S3Credentials> => {
    state.calls++;
    if (state.failing) throw new Error("no answer");
    count++;
    const expiration = lifeMs === undefined ? undefined : new Date(Date.now() + lifeMs);
    return { accessKeyId: `key${count}`, secretAccessKey: "s", expiration };
  };
  return { state, cache: new CredentialCache(ask) };
}

describe("CredentialCache", () => {
  it("asks again 5 minutes before expiry, once however many wait", async () => {
    const { state, cache } = provider(60 * MINUTE);
    const first = await Promise.all([cache.get(), cache.get(), cache.get()]);
    expect(state.calls).toBe(1);
    expect(first[2]!.accessKeyId).toBe("key1");
    vi.advanceTimersByTime(54 * MINUTE);
    expect((await cache.get()).accessKeyId).toBe("key1");
    vi.advanceTimersByTime(2 * MINUTE);
    expect((await Promise.all([cache.get(), cache.get()])).map((keys) => keys.accessKeyId)).toEqual(["key2", "key2"]);
  });

  it("asks at half time for keys that live shortly, never for those that live on", async () => {
    const short = provider(4 * MINUTE);
    await short.cache.get();
    await short.cache.get();
    vi.advanceTimersByTime(1.9 * MINUTE);
    await short.cache.get();
    expect(short.state.calls).toBe(1);
    vi.advanceTimersByTime(0.2 * MINUTE);
    expect((await short.cache.get()).accessKeyId).toBe("key2");
    const lasting = provider(undefined);
    await lasting.cache.get();
    vi.advanceTimersByTime(1e6 * MINUTE);
    expect((await lasting.cache.get()).accessKeyId).toBe("key1");
  });

  it("uses the old ones while they live and no others can be had", async () => {
    const { state, cache } = provider(60 * MINUTE);
    await cache.get();
    state.failing = true;
    vi.advanceTimersByTime(57 * MINUTE);
    expect((await cache.get()).accessKeyId).toBe("key1");
    vi.advanceTimersByTime(4 * MINUTE);
    await expect(cache.get()).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    state.failing = false;
    expect((await cache.get()).accessKeyId).toBe("key2");
  });

  it("replaces refused ones once, whoever was refused first", async () => {
    const { state, cache } = provider(60 * MINUTE);
    const used = await cache.get();
    await Promise.all([cache.replace(used), cache.replace(used)]);
    await cache.replace(used);
    expect(state.calls).toBe(2);
    expect((await cache.get()).accessKeyId).toBe("key2");
  });

  it("is MILLRACE_CONFIG where there are none, and asks again the next time", async () => {
    const { state, cache } = provider(undefined);
    state.failing = true;
    await expect(cache.get()).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: expect.stringContaining("no answer") });
    state.failing = false;
    expect((await cache.get()).accessKeyId).toBe("key1");
    await expect(new CredentialCache(async () => ({}) as S3Credentials).get()).rejects.toMatchObject({ code: "MILLRACE_CONFIG" });
    const own = new MillraceError("MILLRACE_CLOSED", "x");
    await expect(new CredentialCache(() => Promise.reject(own)).get()).rejects.toBe(own);
  });
});

/** Keys that expire, come from a function, or are none; asked of the caller's thread through either engine. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type Millrace, type MillraceOptions, openMillrace, type S3Credentials } from "../../src/index.js";
import { IN_TIME } from "../support/in-time.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { s3Options } from "../support/s3-options.js";

let origin: Origin;
const mills: Millrace[] = [];
beforeAll(async () => {
  origin = await startOrigin();
  for (let i = 0; i < 8; i++) await origin.put("data", `${i}`, Uint8Array.of(i));
});
afterEach(() => Promise.all(mills.splice(0).map((mill) => mill.close())));
afterAll(() => origin.close());

describe.each(["inline", "worker"] as const)("engine %s", (engine) => {
  const open = async (credentials: () => Promise<S3Credentials>, options: MillraceOptions = {}): Promise<Millrace> => {
    mills.push(await openMillrace({ engine, cache: { memory: "8MiB" }, s3: { ...s3Options(origin), credentials }, ...options }));
    return mills.at(-1)!;
  };
  const issued = async (lifeMs?: number): Promise<S3Credentials> => {
    const { expiration, ...keys } = await origin.issue(lifeMs);
    return { ...keys, expiration: new Date(expiration!) };
  };

  test("a function is asked once for many requests, and again before its keys expire", async () => {
    let asked = 0;
    let lifeMs = 3_600_000;
    const mill = await open(() => {
      asked++;
      return issued(lifeMs);
    });
    await Promise.all([0, 1, 2, 3].map((i) => mill.readFile(`s3://data/${i}`)));
    expect(asked).toBe(1);
    lifeMs = 400;
    const short = await open(() => {
      asked++;
      return issued(lifeMs);
    });
    asked = 0;
    await short.readFile("s3://data/0");
    const before = asked;
    await expect
      .poll(async () => {
        await short.invalidate("s3://data/1");
        await short.stat("s3://data/1");
        return asked;
      }, IN_TIME)
      .toBeGreaterThan(before);
  });

  test("an expired token is replaced once, for GET and for control calls", async () => {
    let asked = 0;
    const mill = await open(() => {
      asked++;
      return issued();
    });
    await mill.stat("s3://data/0");
    expect(asked).toBe(1);
    await origin.expireTokens();
    expect(await mill.readFile("s3://data/0")).toEqual(Uint8Array.of(0));
    expect(asked).toBe(2);
    await origin.expireTokens();
    await mill.stat("s3://data/1");
    expect(asked).toBe(3);
  });

  test("one that fails, gives nothing or throws at once: an error that says so, and the next call asks again", async () => {
    const answers: (() => Promise<S3Credentials>)[] = [
      () => Promise.reject(new Error("the vault is locked")),
      () => {
        throw new Error("thrown at once");
      },
      async () => ({}) as never,
      async () => undefined as never,
      () => issued(),
    ];
    const mill = await open(() => answers.shift()!());
    for (const said of [/the vault is locked/, /thrown at once/, /accessKeyId/, /accessKeyId/])
      await expect(mill.stat("s3://data/2")).rejects.toMatchObject({ code: "MILLRACE_CONFIG", message: said });
    expect((await mill.stat("s3://data/2")).size).toBe(1);
  });

  test("more than keys in the answer, such as functions, does no harm", async () => {
    const mill = await open(async () => Object.assign(await issued(), { refresh: () => {} }));
    expect((await mill.stat("s3://data/2")).size).toBe(1);
  });

  test("a function that never answers does not keep the mill from closing", async () => {
    const mill = await open(() => new Promise(() => {}));
    const stat = mill.stat("s3://data/0");
    const read = mill.readFile("s3://data/1");
    const caught = Promise.all([stat, read].map((call) => call.catch((error) => error.code)));
    await mill.invalidate("s3://data/none");
    await mill.close();
    expect(await caught).toEqual(["MILLRACE_CLOSED", "MILLRACE_CLOSED"]);
  });

  test("a mount's function is its own", async () => {
    const asked: string[] = [];
    const ask = (name: string) => () => {
      asked.push(name);
      return issued();
    };
    const mounted = { uri: "s3://data", s3: { ...s3Options(origin), credentials: ask("mount") } };
    const mill = await open(ask("all"), { mounts: { "/m": mounted } });
    await mill.stat("/m/3");
    expect(asked).toEqual(["mount"]);
    await mill.stat("s3://data/4");
    expect(asked).toEqual(["mount", "all"]);
  });

  test("anonymous requests carry no signature", async () => {
    const open = await startOrigin({ anonymousRead: true });
    try {
      await open.put("free", "x", Uint8Array.of(9));
      const { endpoint, region } = open;
      const s3 = { endpoint, region, forcePathStyle: true, anonymous: true };
      mills.push(await openMillrace({ engine, s3 }));
      expect(await mills.at(-1)!.readFile("s3://free/x")).toEqual(Uint8Array.of(9));
      await expect(mills.at(-1)!.writeFile("s3://free/y", "y")).rejects.toMatchObject({ code: "MILLRACE_PERMISSION" });
    } finally {
      await open.close();
    }
  });
});

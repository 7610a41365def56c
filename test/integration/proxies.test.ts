/** Origins whose names no resolver knows, reached through a proxy: by plain HTTP and by a tunnel. */
import { createHash } from "node:crypto";
import { afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { openMillrace } from "../../src/index.js";
import { HttpStore } from "../../src/storage/http-store.js";
import type { HttpTimeouts } from "../../src/storage/http-timeouts.js";
import { Proxies } from "../../src/storage/proxies.js";
import { type Origin, startOrigin } from "../support/origin/index.js";
import { startProxy, type TestProxy } from "../support/proxy.js";
import { rawServer, response } from "../support/raw-server.js";
import { s3Options } from "../support/s3-options.js";

const BODY = Buffer.from(Uint8Array.from({ length: 100_000 }, (_, i) => (i * 7) >>> 3));
const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  vi.unstubAllEnvs();
  for (const one of open.splice(0).reverse()) await one.close();
});
async function proxyTo(url: string, credentials?: string): Promise<TestProxy> {
  const proxy = await startProxy(Number(new URL(url).port), credentials);
  open.push(proxy);
  return proxy;
}
beforeAll(() => {
  for (const name of ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]) delete process.env[name];
});

describe.each([false, true])("a mill, TLS %s", (tls) => {
  let origin: Origin;
  beforeAll(async () => {
    origin = await startOrigin({ tls, anonymousRead: true });
    await origin.put("b", "dir/some key", BODY);
    return () => origin.close();
  });
  const scheme = tls ? "https" : "http";

  test.each(["worker", "inline"] as const)(
    "lists, looks up, reads and writes s3, and reads http, by the proxy only (%s)",
    async (engine) => {
      const proxy = await proxyTo(origin.endpoint);
      vi.stubEnv(tls ? "HTTPS_PROXY" : "http_proxy", proxy.url);
      if (tls) vi.stubEnv("NODE_TLS_REJECT_UNAUTHORIZED", "0");
      const mill = await openMillrace({
        engine,
        cache: { memory: "16MiB" },
        s3: { ...s3Options(origin), endpoint: `${scheme}://s3.test:1234` },
      });
      open.push(mill);
      const paths: string[] = [];
      for await (const { path } of mill.list("s3://b/dir/")) paths.push(path);
      expect(paths).toEqual(["s3://b/dir/some key"]);
      expect(hash(await mill.readFile(paths[0]!))).toBe(hash(BODY));
      const large = Buffer.alloc(3_000_000, 7);
      await mill.writeFile(`s3://b/out/${engine}`, large);
      expect(hash(await mill.readFile(`s3://b/out/${engine}`))).toBe(hash(large));
      expect(hash(await mill.readFile(`${scheme}://web.test/b/dir/some%20key`))).toBe(hash(BODY));
      const hosts = new Set(proxy.requests.map((line) => (tls ? line : line.replace(/^\w+ (http:\/\/[^/]+).*$/, "$1"))));
      expect([...hosts].sort()).toEqual(
        tls ? ["CONNECT s3.test:1234", "CONNECT web.test:443"] : ["http://s3.test:1234", "http://web.test"],
      );
    },
  );
});

describe("a store behind a proxy", () => {
  const HEAD = { "content-length": 10, etag: '"v"', connection: "close" };
  const part = { "content-length": 4, "content-range": "bytes 2-5/10", etag: '"v"', connection: "close" };
  const object = { path: "x", size: 10, etag: '"v"', lastModified: undefined };
  const storeOf = (proxy: string, root = "http://a.test", timeouts: HttpTimeouts = {}) => {
    const store = new HttpStore(root, timeouts, undefined, new Proxies({ http_proxy: proxy, https_proxy: proxy }));
    open.push(store);
    return store;
  };

  test("gives its credentials, and says so where they are missing or wrong", async () => {
    const server = await rawServer((socket, request) =>
      socket.write(request.startsWith("HEAD") ? response(200, HEAD) : response(206, part, "2345")),
    );
    open.push(server);
    const proxy = await proxyTo(server.url, "me:p@ss");
    const store = storeOf(proxy.url.replace("//", "//me:p%40ss@"));
    expect((await store.stat("x")).size).toBe(10);
    const target = new Uint8Array(4);
    await store.readInto(object, 2, [target]);
    expect(Buffer.from(target).toString()).toBe("2345");
    expect(server.requests.join()).not.toMatch(/proxy-auth/i);
    for (const root of ["http://a.test", "https://a.test"]) {
      const refused = storeOf(proxy.url.replace("//", "//me:secret@"), root);
      const error = { code: "MILLRACE_PERMISSION", message: expect.stringMatching(/the proxy wants credentials(?!.*secret)/) };
      await expect(refused.readInto(object, 2, [new Uint8Array(4)])).rejects.toMatchObject(error);
      await expect(refused.stat("x")).rejects.toMatchObject(error);
    }
  });

  test("names each host by its own name after a redirect to another", async () => {
    const server = await rawServer((socket, request) => {
      const location = { location: "http://b.test/y", "content-length": 0, connection: "close" };
      if (request.includes(" /x ")) socket.write(response(307, location));
      else socket.write(request.startsWith("HEAD") ? response(200, HEAD) : response(206, part, "2345"));
    });
    open.push(server);
    const proxy = await proxyTo(server.url);
    const store = storeOf(proxy.url);
    for (let i = 0; i < 2; i++) {
      await store.stat("x");
      await store.readInto(object, 2, [new Uint8Array(4)]);
    }
    const seen = server.requests.map((request) => `${request.split(" ", 2).join(" ")} ${/host: (\S+)/i.exec(request)![1]}`);
    const once = ["HEAD /x a.test", "HEAD /y b.test", "GET /x a.test", "GET /y b.test"];
    expect(seen).toEqual([...once, ...once]);
  });

  test("ends in time where the proxy does not answer, or is not there", async () => {
    const silent = await rawServer(() => undefined);
    open.push(silent);
    for (const root of ["http://a.test", "https://a.test"]) {
      const waiting = storeOf(silent.url, root, { connectMs: 500, headMs: 500 }).readInto(object, 2, [new Uint8Array(4)]);
      await expect(waiting).rejects.toMatchObject({ code: "MILLRACE_TIMEOUT" });
      const dead = storeOf("http://127.0.0.1:1", root).readInto(object, 2, [new Uint8Array(4)]);
      await expect(dead).rejects.toMatchObject({ code: "MILLRACE_UNAVAILABLE" });
    }
  });

  test("is aborted and closed while it waits", async () => {
    const silent = await rawServer(() => undefined);
    open.push(silent);
    for (const root of ["http://a.test", "https://a.test"]) {
      const store = storeOf(silent.url, root);
      const controller = new AbortController();
      const reading = store.readInto(object, 2, [new Uint8Array(4)], { signal: controller.signal });
      const others = expect(store.readInto(object, 2, [new Uint8Array(4)])).rejects.toMatchObject({ code: "MILLRACE_CLOSED" });
      controller.abort();
      await expect(reading).rejects.toMatchObject({ code: "MILLRACE_ABORTED" });
      await store.close();
      await others;
    }
  });
});

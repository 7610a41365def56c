import { describe, expect, test } from "vitest";
import { Proxies } from "../../../src/storage/proxies.js";

const PROXY = "http://proxy.example:3128";
const both = { HTTP_PROXY: PROXY, HTTPS_PROXY: "http://secure.example:3128" };

describe("Proxies", () => {
  test("has none where the environment names none, and none by default", () => {
    expect(new Proxies().for("http://a.example")).toBeUndefined();
    expect(new Proxies({ HTTP_PROXY: "", NO_PROXY: "" }).for("http://a.example")).toBeUndefined();
    expect(new Proxies({ HTTP_PROXY: PROXY }).for("https://a.example")).toBeUndefined();
  });

  test("goes by the origin's scheme; lower case goes first", () => {
    expect(new Proxies(both).for("http://a.example:8080")).toBe(PROXY);
    expect(new Proxies(both).for("https://a.example")).toBe("http://secure.example:3128");
    expect(new Proxies({ ...both, http_proxy: "http://lower.example" }).for("http://a.example")).toBe("http://lower.example");
    expect(new Proxies({ ...both, no_proxy: "a.example", NO_PROXY: "b.example" }).for("http://b.example")).toBe(PROXY);
  });

  test("takes the environment as it is now", () => {
    const env: Record<string, string> = { ...both };
    const proxies = new Proxies(env);
    env.HTTP_PROXY = "http://later.example";
    expect(proxies.for("http://a.example")).toBe(PROXY);
  });

  test.each([
    ["a.example", "http://a.example", true],
    ["a.example", "http://b.a.example:81", true],
    ["a.example", "http://ba.example", false],
    [".a.example", "http://a.example", true],
    ["*.a.example", "http://x.a.example", true],
    ["A.Example", "http://a.EXAMPLE", true],
    ["a.example:81", "http://a.example:81", true],
    ["a.example:81", "http://a.example", false],
    ["a.example:80", "http://a.example", true],
    ["b.example, a.example", "http://a.example", true],
    ["b.example a.example", "http://a.example", true],
    ["*", "https://a.example", true],
    ["10.0.0.0/8", "http://10.255.0.1:9000", true],
    ["10.0.0.0/8", "http://11.0.0.1", false],
    ["10.1.2.3", "http://10.1.2.3", true],
    ["10.1.2.3:9000", "http://10.1.2.3:9000", true],
    ["10.1.2.3:9000", "http://10.1.2.3", false],
    ["fd00::/8", "http://[fd00::1]", true],
    ["fd00::1", "http://[fd00::1]:9000", true],
    ["[fd00::1]:9000", "http://[fd00::1]:9000", true],
    ["fd00::/8", "http://[fe00::1]", false],
    ["10.0.0.0/99, x", "http://10.0.0.1", false],
    ["", "http://localhost:9000", true],
    ["", "http://minio.localhost", true],
    ["", "http://127.0.0.2:9000", true],
    ["", "https://[::1]", true],
    ["", "http://128.0.0.1", false],
  ])("NO_PROXY=%s: %s is asked directly: %s", (NO_PROXY, origin, direct) => {
    expect(new Proxies({ ...both, NO_PROXY }).for(origin) === undefined).toBe(direct);
  });

  test("takes a proxy without a scheme for an http one", () => {
    expect(new Proxies({ http_proxy: "proxy.example:3128" }).for("http://a.example")).toBe(PROXY);
  });

  test.each(["socks5://proxy.example", "http://", "http://[", "http://a b"])(
    "refuses %s, without repeating what may hold a password",
    (value) => {
      const proxies = new Proxies({ HTTPS_PROXY: value });
      expect(proxies.for("http://a.example")).toBeUndefined();
      const refused = expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringMatching(/^HTTPS_PROXY: expected/) });
      expect(() => proxies.for("https://a.example")).toThrow(refused);
    },
  );
});

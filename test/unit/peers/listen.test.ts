import { describe, expect, it } from "vitest";
import { checkListen, parseListen } from "../../../src/peers/listen.js";

const TLS = { key: "k", cert: "c", ca: "a" };

describe("listening", () => {
  it.each(["127.0.0.1:0", "127.1.2.3:7070", "localhost:7070", "LOCALHOST:7070", "[::1]:7070", "[::ffff:127.0.0.1]:1"])(
    "at %s needs no secret",
    (listen) => {
      expect(checkListen(listen, undefined, undefined)).toEqual(parseListen(listen));
    },
  );

  it.each([":7070", "0.0.0.0:7070", "[::]:7070", "10.0.0.1:7070", "[fe80::1]:7070", "node1:7070", "localhost.example:1", "128.0.0.1:0"])(
    "at %s is refused without one",
    (listen) => {
      expect(() => checkListen(listen, undefined, undefined)).toThrow(/^peers\.listen: .*peers\.secret/);
      expect(checkListen(listen, "s", undefined)).toEqual(parseListen(listen));
      expect(checkListen(listen, undefined, TLS)).toEqual(parseListen(listen));
    },
  );

  it("with an empty secret is refused everywhere", () => {
    for (const listen of ["127.0.0.1:0", ":0"]) expect(() => checkListen(listen, "", TLS)).toThrow(/^peers\.secret: /);
  });

  it.each([
    "",
    "7070",
    "127.0.0.1",
    "a:b:1",
    "::1:7070",
    "[127.0.0.1]:1",
    "[::1]",
    "[]:1",
    "a:65536",
    "a:-1",
    "a:1x",
    "http://a:1",
    "a/b:1",
  ])("at %j is no address", (listen) => {
    expect(() => parseListen(listen)).toThrow(
      expect.objectContaining({ code: "MILLRACE_CONFIG", message: expect.stringContaining("peers.listen: ") }),
    );
  });

  it("takes an address apart", () => {
    expect(parseListen("[::1]:80")).toEqual({ host: "::1", port: 80 });
    expect(parseListen(":0")).toEqual({ host: undefined, port: 0 });
  });
});

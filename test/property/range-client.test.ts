import type { Socket } from "node:net";
import fc from "fast-check";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { isMillraceError } from "../../src/errors.js";
import { RangeAnswer, type RangeRequest } from "../../src/storage/range-answer.js";
import { RangeClient } from "../../src/storage/range-client.js";
import { dechunk, parseFinalHead, parseResponseHead } from "../../src/storage/response-head.js";
import { type RawServer, rawServer } from "../support/raw-server.js";

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}$/);
const value = fc.stringMatching(/^[\x21-\x7e\x80-\xff]([\t\x20-\x7e\x80-\xff]{0,20}[\x21-\x7e\x80-\xff])?$/);
const known = /^(content-length|transfer-encoding|connection|etag|last-modified|content-range|content-encoding|location)$/i;

describe("response heads", () => {
  it("what is written is read, and no beginning of it is taken for the whole", () => {
    const headers = fc.uniqueArray(fc.tuple(token, value), { selector: ([name]) => name.toLowerCase(), maxLength: 10 });
    fc.assert(
      fc.property(
        fc.integer({ min: 200, max: 599 }),
        headers,
        fc.nat(2 ** 40),
        fc.uint8Array({ maxLength: 50 }),
        (status, given, length, body) => {
          const own = given.filter(([name]) => !known.test(name));
          const lines = own.map(([name, text]) => `${name}: ${text}\r\n`).join("");
          const text = `HTTP/1.1 ${status} Said\r\n${lines}Content-Length:${length} \r\n\r\n`;
          const bytes = Buffer.from(text, "latin1");
          const head = parseResponseHead(Buffer.concat([bytes, body]));
          if (typeof head === "string") throw new Error(head);
          expect(head).toMatchObject({ status, bytes: bytes.length, keepAlive: true });
          expect(head.framing).toBe(status === 204 || status === 304 ? 0 : length);
          for (const [name, said] of own) expect(head.headers[name.toLowerCase()]).toBe(said.trim());
          for (let end = 0; end < bytes.length; end++) expect(parseResponseHead(bytes.subarray(0, end))).toBe("incomplete");
          const interim = Buffer.concat([Buffer.from("HTTP/1.1 103 \r\na: b\r\n\r\n"), bytes, body]);
          expect(parseFinalHead(interim)).toEqual({ head, rest: Buffer.from(body) });
        },
      ),
    );
  });

  it.each([
    "HTTP/2.0 200 OK",
    "HTTP/1.1 099 X",
    "HTTP/1.1  200 OK",
    "http/1.1 200 OK",
    "HTTP/1.1 200 OK\ncontent-length: 3",
    "HTTP/1.1 200 OK\r\n folded: 1",
    "HTTP/1.1 200 OK\r\na: b\r\n c",
    "HTTP/1.1 200 OK\r\na : b",
    "HTTP/1.1 200 OK\r\n: b",
    "HTTP/1.1 200 OK\r\na: b\0",
    "HTTP/1.1 200 OK\r\ncontent-length: -1",
    "HTTP/1.1 200 OK\r\ncontent-length: 0x5",
    "HTTP/1.1 200 OK\r\ncontent-length: 5, 5",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5",
    "HTTP/1.1 200 OK\r\ncontent-length: ",
    "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
    'HTTP/1.1 200 OK\r\netag: "a"\r\netag: "b"',
    `HTTP/1.1 200 OK${"\r\na: b".repeat(201)}`,
  ])("is malformed: %j", (text) => {
    expect(parseResponseHead(Buffer.from(`${text}\r\n\r\n`, "latin1"))).toBe("malformed");
  });

  it("takes a header that came twice alike, and joins those that make a list", () => {
    const head = parseResponseHead(Buffer.from('HTTP/1.1 200 OK\r\netag: "a"\r\nEtag: "a"\r\nvary: a\r\nvary: b\r\n\r\n'));
    expect(head).toMatchObject({ headers: { etag: '"a"', vary: "a, b" }, framing: "close", keepAlive: false });
  });

  it("takes any bytes without an error", () => {
    const start = fc.constantFrom("", "HTTP/1.1 206 P\r\n", "HTTP/1.1 206 P\r\ncontent-length: 5\r\n\r\n");
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 300 }), (text, bytes) => {
        const all = Buffer.concat([Buffer.from(text), bytes]);
        const { head, rest } = parseFinalHead(all);
        expect(rest.length).toBeLessThanOrEqual(all.length);
        if (typeof head === "object") expect(head.status).toBeGreaterThanOrEqual(200);
        const { body } = dechunk(all);
        expect(body.length).toBeLessThanOrEqual(all.length);
      }),
    );
  });

  it("chunks come together, as far as they are there", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 })), fc.nat(), (pieces, at) => {
        const coded = pieces.flatMap((piece) => [Buffer.from(`${piece.length.toString(16)};x=1\r\n`), piece, Buffer.from("\r\n")]);
        const raw = Buffer.concat([...coded, Buffer.from("0\r\n\r\n")]);
        const whole = Buffer.concat(pieces);
        expect(dechunk(raw)).toEqual({ body: whole, ended: true });
        const part = dechunk(raw.subarray(0, at % raw.length));
        expect(part.body.equals(whole.subarray(0, part.body.length))).toBe(true);
      }),
    );
  });
});

describe("RangeClient", () => {
  const SIZE = 40_000;
  const BODY = Buffer.from(Uint8Array.from({ length: SIZE }, (_, i) => (i * 11) >>> 2));
  const opened: { close(): Promise<void> }[] = [];
  let server: RawServer | undefined;
  let answer: (socket: Socket, request: string) => void = () => undefined;
  const TIME_OUT = 10_000;
  const client = new RangeClient({ connectMs: TIME_OUT, headMs: TIME_OUT, stallMs: TIME_OUT });
  opened.push(client);
  afterEach(() => {
    vi.useRealTimers();
    answer = () => undefined;
  });
  afterAll(async () => {
    for (const one of opened) await one.close();
  });

  async function origin(): Promise<string> {
    if (server === undefined) {
      server = await rawServer((socket, request) => answer(socket.setNoDelay(), request));
      opened.push(server);
    }
    return server.url;
  }

  /** A read into the middle of some memory: what it came to, its bytes, and that the rest of the memory is as it was. */
  async function read(length: number, cuts: readonly number[]) {
    const url = await origin();
    const object = { path: "x", size: SIZE, etag: '"v"', lastModified: undefined };
    const range = { begin: 0, end: length };
    const versionOf: RangeRequest["versionOf"] = ({ etag }) => etag as string | undefined;
    const request = { uri: url, origin: url, path: "/x", headers: {}, range, object, versionOf };
    const memory = new Uint8Array(new SharedArrayBuffer(length + 200)).fill(0xee);
    const edges = [0, ...cuts.map((cut) => cut % (length + 1)).sort((a, b) => a - b), length];
    const targets = edges.slice(1).map((end, i) => memory.subarray(100 + edges[i]!, 100 + end));
    const outcome: unknown = await client.get(new RangeAnswer(request, targets, {}), undefined).catch((error: unknown) => error);
    expect([...memory.subarray(0, 100), ...memory.subarray(-100)].every((byte) => byte === 0xee)).toBe(true);
    return { outcome, bytes: Buffer.from(memory.subarray(100, 100 + length)) };
  }

  function responseTo(length: number): Buffer {
    const head = `HTTP/1.1 206 P\r\ncontent-length: ${length}\r\ncontent-range: bytes 0-${length - 1}/${SIZE}\r\netag: "v"\r\n\r\n`;
    return Buffer.concat([Buffer.from(head), BODY.subarray(0, length)]);
  }

  async function send(socket: Socket, pieces: readonly Uint8Array[]): Promise<void> {
    for (const piece of pieces) {
      socket.write(piece);
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  it("a response cut in two at any byte is the same response", async () => {
    const whole = responseTo(40);
    let at = 0;
    answer = (socket) => {
      const cut = at++ % whole.length;
      void send(socket, [whole.subarray(0, cut), whole.subarray(cut)]);
    };
    for (let i = 0; i < whole.length; i += 10)
      await Promise.all(
        Array.from({ length: 10 }, async () => {
          const { outcome, bytes } = await read(40, [7]);
          expect(outcome).toBe("done");
          expect(bytes.equals(BODY.subarray(0, 40))).toBe(true);
        }),
      );
    expect(at).toBeGreaterThanOrEqual(whole.length);
  });

  it("any cut of bytes and targets gives the same bytes", async () => {
    const cuts = fc.array(fc.nat(SIZE + 150), { maxLength: 6 });
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: SIZE }), cuts, cuts, async (length, pieces, targets) => {
        const whole = responseTo(length);
        const edges = [0, ...pieces.map((piece) => piece % whole.length).sort((a, b) => a - b), whole.length];
        answer = (socket) =>
          void send(
            socket,
            edges.slice(1).map((end, i) => whole.subarray(edges[i]!, end)),
          );
        const { outcome, bytes } = await read(length, targets);
        expect(outcome).toBe("done");
        expect(bytes.equals(BODY.subarray(0, length))).toBe(true);
      }),
      { numRuns: 60 },
    );
  });

  /** What it comes to when the time-outs that are set have all passed, however often, with no waiting. */
  async function timedOut<T>(reading: Promise<T>): Promise<T> {
    let settled = false;
    const result = reading.finally(() => {
      settled = true;
    });
    while (!settled) {
      await new Promise((resolve) => setImmediate(resolve));
      vi.advanceTimersByTime(TIME_OUT);
    }
    return result;
  }

  it("whatever comes, it settles, with nothing written beside the targets, and the next read is right", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const start = fc.constantFrom(
      "",
      "HTTP/1.1 206 P\r\n",
      "HTTP/1.1 503 S\r\ntransfer-encoding: chunked\r\n\r\n",
      responseTo(100).toString("latin1"),
    );
    await fc.assert(
      fc.asyncProperty(start, fc.nat(400), fc.uint8Array({ maxLength: 400 }), fc.boolean(), async (text, cut, noise, ends) => {
        const sent = Buffer.concat([Buffer.from(text, "latin1").subarray(0, cut), noise]);
        const said = new Promise<void>((resolve) => {
          answer = (socket) => {
            socket.write(sent, () => resolve());
            if (ends) socket.end();
          };
        });
        const reading = read(100, []);
        await said;
        for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
        const { outcome, bytes } = await timedOut(reading);
        // A head that came whole makes the noise after it the body: it cannot be told from one, so what was sent is what is right.
        const body = sent.subarray(sent.indexOf("\r\n\r\n") + 4);
        if (outcome === "done") expect(bytes.equals(body.subarray(0, 100))).toBe(true);
        else if (outcome instanceof Error) expect(isMillraceError(outcome)).toBe(true);
        else if (outcome !== "unexpected") expect(outcome).toMatchObject({ status: expect.any(Number) });
        answer = (socket) => void socket.write(responseTo(100));
        expect((await read(100, [])).outcome).toBe("done");
      }),
      { numRuns: 60, examples: [[responseTo(100).toString("latin1"), 174, new Uint8Array(9), false]] },
    );
  });
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseContentRange, parseRetryAfter, rangeHeader } from "../../src/storage/http-range.js";
import { skipTargets, TargetWriter, targetBytes } from "../../src/storage/targets.js";
import { encodePath, parseUri, redactUri } from "../../src/storage/uri.js";
import { backoffMs } from "../../src/util/backoff.js";
import { compareUtf8 } from "../../src/util/utf8-order.js";

const names = fc.string({ unit: "grapheme", minLength: 1 });

describe("storage, pure parts", () => {
  it("Content-Range: what is written is read, and nothing else is", () => {
    fc.assert(
      fc.property(fc.nat(2 ** 31), fc.integer({ min: 1, max: 2 ** 31 }), fc.nat(2 ** 31), (begin, length, more) => {
        const end = begin + length;
        const text = rangeHeader(begin, end).replace("bytes=", "bytes ");
        expect(parseContentRange(`${text}/${end + more}`)).toEqual({ begin, end, size: end + more });
        expect(parseContentRange(`${text}/*`)).toEqual({ begin, end, size: undefined });
        if (begin > 0) expect(parseContentRange(`${text}/${end - 1}`)).toBeUndefined();
      }),
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        const range = parseContentRange(text);
        expect(range === undefined || range.begin < range.end).toBe(true);
      }),
    );
    for (const bad of [undefined, "", "bytes 5-4/10", "bytes 0-9/5", "bytes 0-9", "items 0-9/10", "bytes 0-9/10, 20-29/40"])
      expect(parseContentRange(bad)).toBeUndefined();
  });

  it("Retry-After: seconds and dates, never negative", () => {
    fc.assert(
      fc.property(fc.nat(1e6), (seconds) => {
        expect(parseRetryAfter(String(seconds))).toBe(seconds * 1000);
      }),
    );
    fc.assert(
      fc.property(
        fc.date({ noInvalidDate: true, min: new Date("1970-01-01"), max: new Date("9999-12-31") }),
        fc.nat(2 ** 40),
        (date, now) => {
          const ms = parseRetryAfter(date.toUTCString(), now);
          expect(ms).toBe(Math.max(0, Math.floor(date.getTime() / 1000) * 1000 - now));
        },
      ),
    );
    expect(parseRetryAfter(undefined)).toBeUndefined();
    expect(parseRetryAfter("soon")).toBeUndefined();
  });

  it("targets: any cut of the bytes into chunks, targets and tries fills them alike", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.array(fc.nat(40)),
        fc.array(fc.integer({ min: 1, max: 50 })),
        fc.nat(200),
        (bytes, cuts, chunks, tried) => {
          const memory = new Uint8Array(bytes.length + 1).fill(0xee);
          const targets: Uint8Array[] = [];
          let at = 0;
          for (const cut of [...cuts, bytes.length]) {
            const end = Math.min(bytes.length, at + cut);
            targets.push(memory.subarray(at, end));
            at = end;
          }
          expect(targetBytes(targets)).toBe(bytes.length);
          const skip = Math.min(tried, bytes.length);
          new TargetWriter(targets).write(bytes.subarray(0, skip));
          const writer = new TargetWriter(skipTargets(targets, skip));
          for (let from = skip, i = 0; from < bytes.length; i++) {
            const length = chunks[i % Math.max(1, chunks.length)] ?? 7;
            writer.write(bytes.subarray(from, from + length));
            from += length;
          }
          expect(memory.subarray(0, bytes.length)).toEqual(bytes);
          expect(memory.at(-1)).toBe(0xee);
        },
      ),
    );
  });

  it("compareUtf8: the order of the bytes", () => {
    const sign = (n: number) => Math.sign(n) + 0;
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (start, a, b) => {
        const order = sign(compareUtf8(start + a, start + b));
        expect(order).toBe(sign(Buffer.compare(Buffer.from(start + a), Buffer.from(start + b))));
      }),
    );
  });

  it("URIs: root and path make the URI again, and the root is its own root", () => {
    fc.assert(
      fc.property(fc.constantFrom("s3://bucket", "memory://n", "gs://b", "https://host:8443"), names, (root, name) => {
        expect(parseUri(`${root}/${name}`)).toMatchObject({ root, path: name });
        expect(parseUri(root).root).toBe(root);
      }),
    );
  });

  it("URIs: no secret survives redaction", () => {
    const word = fc.stringMatching(/^[a-z0-9%+.-]{1,10}$/);
    fc.assert(
      fc.property(fc.constantFrom("https", "http", "s3"), word, word, (scheme, path, secret) => {
        const mark = `S3CRET${secret}`;
        expect(redactUri(`${scheme}://${mark}:${mark}@host/${path}`)).toBe(`${scheme}://host/${path}`);
        if (scheme !== "s3") expect(redactUri(`${scheme}://host/${path}?sig=${mark}`)).not.toContain("S3CRET");
      }),
    );
  });

  it("encodePath: decodes to what it was, in characters that a request line may hold", () => {
    fc.assert(
      fc.property(names, (name) => {
        expect(encodePath(name)).toMatch(/^[A-Za-z0-9._~/%-]*$/);
        expect(decodeURIComponent(encodePath(name))).toBe(name);
      }),
    );
  });

  it("backoff: within its bounds", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (failures, draw) => {
        const ms = backoffMs(failures, 100, 20_000, () => draw);
        expect(ms).toBeGreaterThanOrEqual(0);
        expect(ms).toBeLessThanOrEqual(Math.min(20_000, 100 * 2 ** Math.min(failures - 1, 30)));
      }),
    );
  });
});

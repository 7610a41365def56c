import { describe, expect, test } from "vitest";
import { fromWireError, toWireError } from "../../../src/engine/wire-error.js";
import { MillraceError } from "../../../src/errors.js";

/** There and back, through what a message port does to a value. */
function crossed(error: unknown): Error & { code?: string } {
  return fromWireError(structuredClone(toWireError(error)));
}

describe("errors that cross threads", () => {
  test("a MillraceError comes back with class, code, details, cause and stack", () => {
    const cause = Object.assign(new TypeError("reset by peer"), { code: "ECONNRESET" });
    const sent = new MillraceError("MILLRACE_CORRUPT", "record 7 is bad", {
      uri: "s3://b/k",
      range: { begin: 10, end: 20 },
      sample: { key: "k7", index: 0 },
      cause,
    });
    const came = crossed(sent);
    expect(came).toBeInstanceOf(MillraceError);
    expect(came).toMatchObject({
      name: "MillraceError",
      code: "MILLRACE_CORRUPT",
      message: "record 7 is bad",
      uri: "s3://b/k",
      range: { begin: 10, end: 20 },
      sample: { key: "k7", index: 0 },
      stack: sent.stack,
    });
    expect(came.cause).toBeInstanceOf(Error);
    expect(came.cause).toMatchObject({ name: "TypeError", message: "reset by peer", code: "ECONNRESET" });
  });

  test("details that were not given do not appear", () => {
    const came = crossed(new MillraceError("MILLRACE_CONFIG", "no"));
    expect("uri" in came || "range" in came || "sample" in came || "cause" in came).toBe(false);
  });

  test("other errors keep name, message and a code that is text", () => {
    const came = crossed(Object.assign(new RangeError("too far"), { code: 7, payload: () => {} }));
    expect(came).not.toBeInstanceOf(MillraceError);
    expect(came).toMatchObject({ name: "RangeError", message: "too far" });
    expect("code" in came).toBe(false);
  });

  test("what is no error is told as one", () => {
    expect(crossed("plain text").message).toBe("plain text");
    expect(crossed(undefined).message).toBe("undefined");
    expect(crossed(new MillraceError("MILLRACE_ABORTED", "aborted", { cause: "because" })).cause).toMatchObject({ message: "because" });
  });

  test("a cycle of causes ends after six errors", () => {
    const error = new Error("outer");
    error.cause = error;
    let depth = 0;
    for (let at: unknown = crossed(error); at instanceof Error; at = at.cause) depth++;
    expect(depth).toBe(6);
  });
});

import { describe, expect, test } from "vitest";
import { abortedError, isMillraceError, MillraceError, throwIfAborted } from "../../src/errors.js";

describe("MillraceError", () => {
  test("carries its code, what it concerns and its cause", () => {
    const cause = new Error("reset");
    const error = new MillraceError("MILLRACE_CORRUPT", "bad record", {
      uri: "s3://b/k",
      range: { begin: 1, end: 5 },
      sample: { key: "a", index: 3 },
      retryAfterMs: 0,
      cause,
    });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({
      name: "MillraceError",
      code: "MILLRACE_CORRUPT",
      message: "bad record",
      uri: "s3://b/k",
      range: { begin: 1, end: 5 },
      sample: { key: "a", index: 3 },
      retryAfterMs: 0,
    });
    expect(error.cause).toBe(cause);
  });

  test("has no property that was not given", () => {
    expect(Object.keys(new MillraceError("MILLRACE_CONFIG", "no", { uri: undefined })).sort()).toEqual(["code", "name"]);
    expect("cause" in new MillraceError("MILLRACE_CONFIG", "no")).toBe(false);
  });

  test("is told from other errors, and by its code", () => {
    const error = new MillraceError("MILLRACE_TIMEOUT", "late");
    expect(isMillraceError(error)).toBe(true);
    expect(isMillraceError(error, "MILLRACE_TIMEOUT")).toBe(true);
    expect(isMillraceError(error, "MILLRACE_CHANGED")).toBe(false);
    expect(isMillraceError(Object.assign(new Error("late"), { code: "MILLRACE_TIMEOUT" }))).toBe(false);
    expect(isMillraceError(undefined)).toBe(false);
  });
});

describe("aborts", () => {
  test("the signal's reason is the cause", () => {
    const reason = new Error("enough");
    const error = abortedError(AbortSignal.abort(reason), "The read");
    expect(error).toMatchObject({ code: "MILLRACE_ABORTED", message: "The read was aborted" });
    expect(error.cause).toBe(reason);
    expect(abortedError(AbortSignal.abort(reason)).message).toBe("The operation was aborted");
  });

  test("throwIfAborted throws only once the signal has fired", () => {
    const controller = new AbortController();
    throwIfAborted(undefined);
    throwIfAborted(controller.signal);
    controller.abort();
    expect(() => throwIfAborted(controller.signal, "Opening")).toThrow("Opening was aborted");
  });
});

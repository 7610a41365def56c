import { expect } from "vitest";

/** The message a check refuses with; every refusal is MILLRACE_CONFIG. */
export function refusal(check: () => unknown): string {
  try {
    check();
  } catch (error) {
    expect(error).toMatchObject({ code: "MILLRACE_CONFIG" });
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

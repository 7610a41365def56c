/** What the engine and an I/O thread say to each other. */
import type { HttpTimeouts } from "../storage/http-timeouts.js";
import type { Refusal } from "../storage/network-errors.js";
import type { Outcome } from "../storage/range-answer.js";
import type { RangeCall, Verdict } from "../storage/range-sink.js";
import type { WireError } from "./wire-error.js";

export interface IoThreadData {
  /** Tells `openMillrace` that it is inside one of our own workers. */
  readonly millrace: "io";
  readonly timeouts: HttpTimeouts;
}

/** One ranged GET, for the thread to send. The targets lie on shared memory. */
export interface IoGet {
  readonly t: "get";
  readonly id: number;
  readonly call: RangeCall;
  readonly targets: readonly Uint8Array[];
}
/** The head of a response that brings bytes: the body waits for the engine's verdict. */
export interface IoHead {
  readonly t: "head";
  readonly id: number;
  readonly status: number;
  readonly headers: Refusal["headers"];
}
/** Nothing more is written for this request. */
export interface IoEnd {
  readonly t: "end";
  readonly id: number;
  /** Bytes in the targets. */
  readonly received: number;
  readonly result: { readonly outcome: Exclude<Outcome, "stale"> } | { readonly error: WireError };
}
export type ToIoThread =
  | IoGet
  | { readonly t: "verdict"; readonly id: number; readonly verdict: Verdict }
  | { readonly t: "abort"; readonly id: number }
  | { readonly t: "close" };
export type FromIoThread = IoHead | IoEnd;

/**
 * How many bytes ahead of the loop the read-ahead keeps fetched or in flight.
 * The scheduler asks the rule before each fetch and tells it of each wait, so that a rule may grow and shrink its depth.
 */
import { formatBytes } from "../util/byte-size.js";

export interface DepthRule {
  readonly depthBytes: number;
  /** Why it is what it is, for people. */
  readonly reason: string;
  /** The loop waited this long for bytes that were not there. */
  stalled(milliseconds: number): void;
}

const MIB = 2 ** 20;
/** 8 connections × 8 MiB: fills 600 MB/s at 30 ms first byte and 90 MB/s a connection. */
const LEAST = 64 * MIB;
/** More only costs memory: 512 MiB are seconds of reading for any loop that one process can feed. */
const MOST = 512 * MIB;

/**
 * What the windows that open next take, 64 MiB at least and 512 MiB at most; or what the caller said.
 * `turnover`: the part of `windowBytes`, the memory of the open windows, that must be fetched before it is needed for the loop never to wait;
 * a quarter at least, since the sizes of chunks differ.
 */
export function fixedDepth(option: "auto" | number, windowBytes: number, turnover: number): DepthRule {
  if (option !== "auto") return { depthBytes: option, reason: "as given by readAhead", stalled: () => {} };
  const part = Math.max(1 / 4, turnover);
  const depthBytes = Math.min(MOST, Math.max(LEAST, Math.ceil(windowBytes * part)));
  const reason = `${Math.round(part * 100)} % of ${formatBytes(windowBytes)} of windows, from ${formatBytes(LEAST)} to ${formatBytes(MOST)}`;
  return { depthBytes, reason, stalled: () => {} };
}

/**
 * How many bytes ahead of the loop the read-ahead keeps fetched or in flight.
 * The scheduler asks the rule before each fetch, and tells it of waits that a larger depth would have shortened.
 */
import { formatBytes } from "../util/byte-size.js";
import { times } from "../util/times.js";

/** Why a depth is to become smaller: others want their share of the budget, or the process has little memory left. */
export type Pressure = "budget" | "memory";

export interface DepthRule {
  readonly depthBytes: number;
  /** Why it is what it is, for people. */
  readonly reason: string;
  /** Grows with each change of the depth: what was held back by an earlier depth tells nothing of the present one. */
  readonly generation: number;
  /** The loop waited for bytes whose fetch the depth of `generation` had held back. */
  stalled(milliseconds: number, generation: number): void;
  /** Memory is short. */
  pressed(by: Pressure): void;
}

const MIB = 2 ** 20;
/** Four requests of 16 MiB, as long as they are before anything is measured: 310 MB/s at 30 ms to the first byte and 90 MB/s a connection. */
export const START_BYTES: number = 64 * MIB;
/** Two chunks of 10 MiB, and what is lost to rounding: one in use soon, one on its way. With less each request would be waited for. */
const LEAST_BYTES = 24 * MIB;

const PRESSURES: Readonly<Record<Pressure, string>> = {
  budget: "made smaller to share the read-ahead budget",
  memory: "made smaller since the process is near its memory limit",
};

/** The depth that a caller chose. */
export function fixedDepth(depthBytes: number): DepthRule {
  return { depthBytes, reason: "as given by readAhead", generation: 0, stalled: () => {}, pressed: () => {} };
}

/** What the order tells of the windows. */
export interface WindowFacts {
  /** Memory of all open windows, bytes. */
  readonly windowBytes: number;
  /** The part of it that must be fetched before it is needed for the loop never to wait. */
  readonly turnover: number;
}

/**
 * Begins with what the windows that open next take (a quarter of all at least, since the sizes of chunks differ; 64 MiB at least), doubles
 * when the loop waits for what the depth held back, halves under memory pressure.
 */
export class SelfTuningDepth implements DepthRule {
  readonly #mostBytes: number;
  #depthBytes: number;
  #generation = 0;
  #doublings = 0;
  #halvings = 0;
  #because: string;

  /** `mostBytes`: the budget that all read-ahead of the engine shares. */
  constructor({ windowBytes, turnover }: WindowFacts, mostBytes: number) {
    const part = Math.max(1 / 4, turnover);
    this.#mostBytes = mostBytes;
    this.#depthBytes = Math.min(mostBytes, Math.max(START_BYTES, Math.ceil(windowBytes * part)));
    this.#because = `began with ${Math.round(part * 100)} % of ${formatBytes(windowBytes)} of windows, within ${formatBytes(START_BYTES)} and ${formatBytes(mostBytes)}`;
  }

  get depthBytes(): number {
    return this.#depthBytes;
  }

  get generation(): number {
    return this.#generation;
  }

  get reason(): string {
    const changes = [
      this.#doublings > 0 ? `doubled ${times(this.#doublings)}` : "",
      this.#halvings > 0 ? `halved ${times(this.#halvings)}` : "",
    ].filter((change) => change !== "");
    return changes.length === 0 ? this.#because : `${changes.join(", ")}; ${this.#because}`;
  }

  stalled(milliseconds: number, generation: number): void {
    if (generation !== this.#generation) return;
    const wait = `the loop waited ${milliseconds.toFixed(0)} ms for bytes that were held back`;
    if (this.#depthBytes >= this.#mostBytes) {
      this.#because = `${wait}, and there is no budget for more`;
      return;
    }
    this.#doublings++;
    this.#set(Math.min(this.#mostBytes, this.#depthBytes * 2), wait);
  }

  pressed(by: Pressure): void {
    if (this.#depthBytes <= LEAST_BYTES) return;
    this.#halvings++;
    this.#set(Math.max(LEAST_BYTES, this.#depthBytes / 2), PRESSURES[by]);
  }

  #set(depthBytes: number, because: string): void {
    this.#generation++;
    this.#depthBytes = depthBytes;
    this.#because = because;
  }
}

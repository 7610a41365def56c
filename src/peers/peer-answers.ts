/** What a peer's answers must look like before anything of them is used. No I/O. */
import { header, type Refusal } from "../storage/network-errors.js";
import { bringsBytes, type RangeCall, RangeSink, type Verdict } from "../storage/range-sink.js";
import type { PeerAuth } from "./auth.js";
import type { FallbackReason } from "./peer-counters.js";
import { HEADER, parseChecksums } from "./peer-protocol.js";

/** A peer did not serve, and what that says of it. */
export class PeerFault extends Error {
  readonly reason: FallbackReason;
  /** It answered well, but serves nothing of the object's store. */
  readonly notItsOwn: boolean;

  constructor(reason: FallbackReason, message: string, { cause, notItsOwn = false }: { cause?: unknown; notItsOwn?: boolean } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "PeerFault";
    this.reason = reason;
    this.notItsOwn = notItsOwn;
  }
}

/** Shows that an answer comes from a peer. */
export interface Proof {
  readonly auth: PeerAuth;
  /** The request's Authorization. */
  readonly authorization: string;
}

/** True where there is no secret, or the header's proof is one of these parts. */
export function isProven(proof: Proof | undefined, headers: Refusal["headers"], parts: readonly string[]): boolean {
  return proof === undefined || proof.auth.proves(proof.authorization, parts, header(headers, HEADER.proof));
}

/** The parts of a block answer that its proof covers: with the request's signature they say which bytes these are. */
export function answerParts(peer: string, length: string | number, checksums: string): string[] {
  return ["blocks", peer, String(length), checksums];
}

/** The parts of an answer that says what a peer holds. */
export function heldParts(peer: string, body: string): string[] {
  return ["held", peer, body];
}

/** An answer of a few KiB, whatever its status: all of it is in `refusal()`. */
export class SmallAnswer extends RangeSink {
  readonly #alive: () => void;

  /** `alive` is called when the peer shows that it is at work. */
  constructor(request: RangeCall, alive: () => void) {
    super(request, []);
    this.#alive = alive;
  }

  override interim(): void {
    this.#alive();
  }

  override head(status: number, headers: Refusal["headers"]): Verdict {
    this.#alive();
    return this.refused(status, headers);
  }
}

export interface ExpectedBlocks {
  readonly peer: string;
  readonly proof: Proof | undefined;
  /** Called when the peer shows that it is at work, by whatever comes. */
  readonly alive: () => void;
  /** Called when the answer's head is there. */
  readonly begun: () => void;
}

/** Bytes of blocks. Its head throws PeerFault where they are not the ones asked for. */
export class BlockAnswer extends RangeSink {
  readonly #expected: ExpectedBlocks;
  /** crc32c of each target. */
  checksums: readonly number[] = [];

  constructor(request: RangeCall, targets: readonly Uint8Array[], expected: ExpectedBlocks) {
    super(request, targets);
    this.#expected = expected;
  }

  override interim(): void {
    this.#expected.alive();
  }

  override landed(count: number): void {
    super.landed(count);
    this.#expected.alive();
  }

  override head(status: number, headers: Refusal["headers"]): Verdict {
    this.#expected.alive();
    if (!bringsBytes(status)) return this.refused(status, headers);
    this.#expected.begun();
    const { peer, proof } = this.#expected;
    const said = header(headers, HEADER.peer);
    if (said !== encodeURIComponent(peer)) throw new PeerFault("refused", `another answers in its place (${said ?? "nobody"})`);
    const length = header(headers, "content-length") ?? "";
    const crc = header(headers, HEADER.crc32c) ?? "";
    if (!isProven(proof, headers, answerParts(peer, length, crc)))
      throw new PeerFault("refused", "its answer shows no knowledge of the secret");
    const checksums = parseChecksums(crc, this.targets.length);
    if (Number(length) !== this.missing || checksums === undefined)
      throw new PeerFault("corrupt", "its answer has the wrong length or form");
    this.checksums = checksums;
    return "body";
  }
}

/** What a refusal says of the peer. */
export function faultOf({ status, body }: Refusal): PeerFault {
  const line = body
    .split("\n", 1)[0]!
    .replace(/[^\x20-\x7e]/g, "?")
    .slice(0, 200);
  const message = `HTTP ${status} ${line}`.trimEnd();
  if (status === 503 || status === 429) return new PeerFault("busy", message);
  if (status === 401) return new PeerFault("refused", message);
  if (status === 403) return new PeerFault("refused", message, { notItsOwn: true });
  if (status === 404 || status === 409) return new PeerFault("options", message);
  return new PeerFault("failed", message);
}

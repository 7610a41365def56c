/**
 * Requests between peers, signed with a shared secret: HMAC-SHA256 (RFC 2104) over the parts that give a request its meaning, and the time.
 * A request is an idempotent read, so one that is played again within the window gains nothing. Answers carry a proof over the request's
 * signature, so that a stranger at a peer's old address cannot answer for it.
 */
import { createHmac, timingSafeEqual } from "node:crypto";

const SCHEME = "Millrace-HMAC-SHA256";
const AUTHORIZATION: RegExp = new RegExp(`^${SCHEME} time=(\\d{1,15}), signature=([0-9a-f]{64})$`);
/** How far a request's time may lie from ours, milliseconds: skew beyond it is measured and made up for, so it need only cover the way. */
const WINDOW_MS = 60_000;

/** Why a request is not taken for a peer's. "expired": all is right but its time. */
export type AuthFailure = "unsigned" | "signature" | "expired";

export interface PeerAuthOptions {
  /** Shared by all peers. */
  readonly secret: string;
  /** Milliseconds since 1970. Default `Date.now`. */
  readonly now?: (() => number) | undefined;
  /** Default one minute. */
  readonly windowMs?: number | undefined;
}

export class PeerAuth {
  readonly now: () => number;
  readonly #secret: string;
  readonly #windowMs: number;

  constructor({ secret, now = Date.now, windowMs = WINDOW_MS }: PeerAuthOptions) {
    this.#secret = secret;
    this.now = now;
    this.#windowMs = windowMs;
  }

  /** The Authorization header of a request that consists of these parts. `skewMs`: how far the other's clock is ahead of ours. */
  sign(parts: readonly string[], skewMs = 0): string {
    const time = String(Math.max(0, Math.round(this.now() + skewMs)));
    return `${SCHEME} time=${time}, signature=${this.#hmac("request", time, parts)}`;
  }

  /** Why the request is refused; undefined where it is a peer's. */
  check(parts: readonly string[], authorization: string | undefined): AuthFailure | undefined {
    const match = AUTHORIZATION.exec(authorization ?? "");
    if (match === null) return "unsigned";
    if (!equal(match[2]!, this.#hmac("request", match[1]!, parts))) return "signature";
    return Math.abs(Number(match[1]) - this.now()) > this.#windowMs ? "expired" : undefined;
  }

  /** What shows that an answer of these parts comes from one who knows the secret, and to this request. */
  prove(authorization: string, parts: readonly string[]): string {
    return this.#hmac("answer", authorization, parts);
  }

  proves(authorization: string, parts: readonly string[], proof: string | undefined): boolean {
    return proof !== undefined && equal(proof, this.prove(authorization, parts));
  }

  /** In JSON, so that no two lists of parts read the same. */
  #hmac(kind: "request" | "answer", about: string, parts: readonly string[]): string {
    return createHmac("sha256", this.#secret)
      .update(JSON.stringify([kind, about, ...parts]))
      .digest("hex");
  }
}

/** In the same time wherever they differ. */
function equal(given: string, right: string): boolean {
  const [a, b] = [Buffer.from(given, "latin1"), Buffer.from(right, "latin1")];
  return a.length === b.length && timingSafeEqual(a, b);
}

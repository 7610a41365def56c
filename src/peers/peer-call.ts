/** One request to a peer: signed, with patience, its answer checked. */
import { isMillraceError } from "../errors.js";
import { header, type Refusal } from "../storage/network-errors.js";
import { RangeClient } from "../storage/range-client.js";
import type { RangeCall, RangeSink } from "../storage/range-sink.js";
import type { AlarmClock } from "../util/alarm-clock.js";
import { PeerAuth, type PeerAuthOptions } from "./auth.js";
import { type Held, parseHeld } from "./held-protocol.js";
import type { PeerTls } from "./listen.js";
import { Patience, type Signs, type Waits } from "./patience.js";
import { BlockAnswer, faultOf, heldParts, isProven, PeerFault, type Proof, SmallAnswer } from "./peer-answers.js";
import type { PeerClientCounters } from "./peer-counters.js";
import { KEPT_MS } from "./peer-http.js";
import { formatTerms, HEADER, PEER_PATH, type PeerIdentity, parseIdentity, signedParts } from "./peer-protocol.js";

/** Longest waits, milliseconds. Until the head is there, patience decides. */
const TIMEOUTS = { connectMs: 60_000, headMs: 60_000, idleMs: KEPT_MS } as const;
/**
 * A peer that is at work says so. Blocks: whether its origin brings what it is to serve it judges itself; this is the time in which an origin is
 * tried again at all. Figures: longer than it may think about them.
 */
const ANSWER_MS = { blocks: 300_000, figures: 30_000 } as const;

/** A peer's address, what is known of its clock, and how often it was heard of. */
export interface Callee extends Signs {
  /** `http://host:port` */
  readonly url: string;
  /** How far its clock is ahead of ours, milliseconds. */
  skewMs: number;
}

/** What blocks are asked for. */
export interface BlockCall {
  readonly path: string;
  /** Of the object; `base`: where what the path names begins in it. */
  readonly begin: number;
  readonly end: number;
  readonly base: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly targets: readonly Uint8Array[];
}

export interface CallerOptions {
  readonly self: PeerIdentity;
  readonly auth: PeerAuthOptions | undefined;
  readonly tls: PeerTls | undefined;
  /** Longest wait for more of an answer's body, milliseconds. */
  readonly stallMs: number;
  readonly clock: AlarmClock;
  readonly counters: PeerClientCounters;
}

export class PeerCaller {
  readonly #options: CallerOptions;
  readonly #auth: PeerAuth | undefined;
  readonly #client: RangeClient;
  readonly #common: Readonly<Record<string, string>>;

  constructor(options: CallerOptions) {
    this.#options = options;
    this.#auth = options.auth && new PeerAuth(options.auth);
    this.#client = new RangeClient({ ...TIMEOUTS, stallMs: options.stallMs }, options.tls);
    this.#common = { [HEADER.peer]: encodeURIComponent(options.self.id), [HEADER.options]: formatTerms(options.self) };
  }

  /**
   * Fills the targets and returns the crc32c that each is to have. Once it has settled, nothing more is written.
   * Throws PeerFault, MILLRACE_ABORTED, MILLRACE_CLOSED.
   */
  async blocks(
    callee: Callee,
    peer: string,
    call: BlockCall,
    patienceMs: number,
    signal: AbortSignal | undefined,
  ): Promise<readonly number[]> {
    const { begin, end, base } = call;
    const headers = { ...call.headers, range: `bytes=${begin - base}-${end - base - 1}` };
    return this.#patiently(callee, { silenceMs: patienceMs, answerMs: ANSWER_MS.blocks }, signal, async (patience) => {
      const expected = { peer, alive: () => patience.heard(), begun: () => patience.calm() };
      const answer = await this.#get(
        callee,
        { path: call.path, headers, begin, end },
        patience.signal,
        (request, proof) => new BlockAnswer(request, call.targets, { ...expected, proof }),
      );
      const refusal = answer.refusal();
      if (refusal !== undefined) throw faultOf(refusal);
      return answer.checksums;
    });
  }

  /** The handshake: who answers at an address. Throws PeerFault, MILLRACE_ABORTED, MILLRACE_CLOSED. */
  async identify(callee: Callee, patienceMs: number, signal: AbortSignal | undefined): Promise<PeerIdentity> {
    const { said, proof } = await this.#said(callee, PEER_PATH, {}, patienceMs, signal);
    if (said.status === 404) throw new PeerFault("options", "it speaks another version of the protocol, or is no peer");
    if (said.status !== 200) throw faultOf(said);
    const identity = parseIdentity(said.body);
    if (identity === undefined) throw new PeerFault("refused", "no peer answers at its address");
    if (!isProven(proof, said.headers, ["peer", said.body])) throw new PeerFault("refused", "its answer shows no knowledge of the secret");
    return identity;
  }

  /** How many bytes the peer holds of what path and headers name. Throws PeerFault, MILLRACE_ABORTED, MILLRACE_CLOSED. */
  async held(
    callee: Callee,
    peer: string,
    { path, headers }: Pick<BlockCall, "path" | "headers">,
    patienceMs: number,
    signal: AbortSignal | undefined,
  ): Promise<Held> {
    const { said, proof } = await this.#said(callee, path, headers, patienceMs, signal);
    if (said.status !== 200) throw faultOf(said);
    const held = parseHeld(said.body);
    if (held === undefined) throw new PeerFault("corrupt", "its answer is not of the protocol");
    if (header(said.headers, HEADER.peer) !== encodeURIComponent(peer)) throw new PeerFault("refused", "another answers in its place");
    if (!isProven(proof, said.headers, heldParts(peer, said.body)))
      throw new PeerFault("refused", "its answer shows no knowledge of the secret");
    return held;
  }

  /** Requests under way fail with MILLRACE_CLOSED. Resolves when every socket is closed. */
  close(): Promise<void> {
    return this.#client.close();
  }

  /** An answer of a few KiB, whatever its status, and what is to prove it. */
  #said(
    callee: Callee,
    path: string,
    headers: Readonly<Record<string, string>>,
    patienceMs: number,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly said: Refusal; readonly proof: Proof | undefined }> {
    return this.#patiently(callee, { silenceMs: patienceMs, answerMs: ANSWER_MS.figures }, signal, async (patience) => {
      let proven: Proof | undefined;
      const answer = await this.#get(callee, { path, headers, begin: 0, end: 0 }, patience.signal, (request, proof) => {
        proven = proof;
        return new SmallAnswer(request, () => patience.heard());
      });
      return { said: answer.refusal()!, proof: proven };
    });
  }

  async #patiently<T>(callee: Callee, waits: Waits, signal: AbortSignal | undefined, work: (patience: Patience) => Promise<T>): Promise<T> {
    const patience = new Patience(this.#options.clock, waits, callee, signal);
    try {
      return await work(patience);
    } catch (error) {
      if (error instanceof PeerFault || signal?.aborted || isMillraceError(error, "MILLRACE_CLOSED")) throw error;
      if (patience.late === "long") throw new PeerFault("failed", `no bytes in ${waits.answerMs / 1000} s`, { cause: error });
      const late = patience.late === "silent" || isMillraceError(error, "MILLRACE_TIMEOUT");
      throw new PeerFault(late ? "slow" : "unreachable", late ? "no sign of life in time" : (error as Error).message, { cause: error });
    } finally {
      patience.end();
    }
  }

  /** Where the peer's clock is what keeps it from answering, once more with its time. */
  async #get<S extends RangeSink>(
    callee: Callee,
    { path, headers, begin, end }: Pick<BlockCall, "path" | "headers" | "begin" | "end">,
    signal: AbortSignal,
    make: (request: RangeCall, proof: Proof | undefined) => S,
  ): Promise<S> {
    for (let again = false; ; again = true) {
      const all = { ...this.#common, ...headers };
      const authorization = this.#auth?.sign(signedParts(path, all), callee.skewMs);
      const proof = authorization === undefined ? undefined : { auth: this.#auth!, authorization };
      const request: RangeCall = {
        uri: callee.url + path,
        origin: callee.url,
        path,
        headers: authorization === undefined ? all : { ...all, authorization },
        range: { begin, end },
      };
      const sink = make(request, proof);
      const outcome = await this.#client.get(sink, signal);
      if (outcome === "unexpected") throw new PeerFault("corrupt", "its answer is not of the protocol");
      const skewMs = again || typeof outcome === "string" ? undefined : measuredSkew(outcome, proof);
      if (skewMs === undefined) return sink;
      callee.skewMs = skewMs;
      this.#options.counters.skewRetries++;
    }
  }
}

/** How far the clock of who refused a request as expired is ahead, where it is a peer who says so. */
function measuredSkew({ status, headers }: Refusal, proof: Proof | undefined): number | undefined {
  const time = header(headers, HEADER.time);
  if (status !== 401 || time === undefined || proof === undefined || !isProven(proof, headers, ["expired", time])) return undefined;
  return Number(time) - proof.auth.now();
}

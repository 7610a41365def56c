/** Answers one request for blocks: gets them without asking peers, and writes them from the slots that hold them. */
import type { ServerResponse } from "node:http";
import type { BlockLease } from "../blocks/block-source.js";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { AcquireDemand, SpanLease } from "../cache/tier-chain.js";
import { MillraceError } from "../errors.js";
import type { AlarmClock } from "../util/alarm-clock.js";
import { crc32c } from "../util/crc32c.js";
import { withBeats } from "./beats.js";
import { Countdown } from "./countdown.js";
import { answerParts, type Proof } from "./peer-answers.js";
import type { PeerServerCounters } from "./peer-counters.js";
import { type BlockRequest, formatChecksums, HEADER, PeerRefusal } from "./peer-protocol.js";
import type { UnreachableOrigins } from "./unreachable-origins.js";

/** An asker that has not taken its answer by then is too slow to wait for, milliseconds: 8 MiB at 140 KB/s. */
const ANSWER_MS = 60_000;
/**
 * An origin that brings this node nothing at all for so long does not bring what an asker waits for either, which may reach it itself: milliseconds.
 * However long its queue: who goes elsewhere would have a slow origin read it twice.
 */
const ORIGIN = { ms: 30_000, tickMs: 1_000 } as const;

/** Where blocks come from: a BlockCache. */
export interface ServedBlocks {
  readonly blockSize: number;
  acquire(object: ObjectVersion, begin: number, end: number, demand: AcquireDemand): Promise<SpanLease>;
  cachedBytes(object: ObjectVersion, begin: number, end: number): number;
}

export interface ReplyContext {
  /** This peer's id. */
  readonly id: string;
  readonly blocks: ServedBlocks;
  readonly clock: AlarmClock;
  readonly counters: PeerServerCounters;
  readonly origins: UnreachableOrigins;
  /** An asker that takes nothing for that long is cut off, milliseconds. */
  readonly stallMs: number;
}

/** Resolves when the socket has taken the bytes, or is closed: to a refusal where they could not be had, and nothing was answered. */
export async function replyBlocks(
  response: ServerResponse,
  request: BlockRequest,
  object: ObjectVersion,
  proof: Proof | undefined,
  context: ReplyContext,
): Promise<PeerRefusal | undefined> {
  const { clock, counters } = context;
  let span: SpanLease | undefined;
  const stop = new AbortController();
  const closed = new Promise<void>((resolve) => {
    response.once("close", () => {
      // An abort makes an error with its stack: only where somebody listens.
      if (span === undefined) stop.abort();
      resolve();
    });
  });
  if (response.destroyed) stop.abort();
  let cancel = (): void => {};
  try {
    span = await withBeats(response, clock, () => acquire(request, object, stop, context));
    if (stop.signal.aborted) counters.abandoned++;
    else {
      cancel = clock.after(ANSWER_MS, () => cutOff(response, counters));
      const held = span;
      write(response, request, span, proof, context, () => count(request, held, counters));
      await closed;
    }
    return undefined;
  } catch (error) {
    if (!response.destroyed) return notHad(error);
    counters.abandoned++;
    return undefined;
  } finally {
    cancel();
    span?.release();
  }
}

/** The blocks, from memory, disks or the origin: other peers are not asked. Fires `stop` where the origin brings nothing. */
export async function acquire(
  { begin, end, priority, wide, instead }: Pick<BlockRequest, "begin" | "end" | "priority" | "wide" | "instead">,
  object: ObjectVersion,
  stop: AbortController,
  { blocks, counters, origins, clock }: Pick<ReplyContext, "blocks" | "counters" | "origins" | "clock">,
): Promise<SpanLease> {
  const { store } = object;
  const missing = blocks.cachedBytes(object, begin, end) < end - begin;
  if (missing && !origins.mayTry(store.uri))
    throw new MillraceError("MILLRACE_UNAVAILABLE", `${store.uri} could not be reached a moment ago`);
  const served: AcquireDemand["served"] = (tier, bytes) => {
    if (tier === "origin") counters.originBytes += bytes;
  };
  let late: MillraceError | undefined;
  const due = (): void => {
    late = new MillraceError("MILLRACE_TIMEOUT", `${store.uri} has brought nothing in ${ORIGIN.ms / 1000} s`);
    stop.abort(late);
  };
  const signs = (): number => store.pace?.().receivedBytes ?? 0;
  const countdown = missing ? new Countdown(clock, { ...ORIGIN, signs, due }) : undefined;
  try {
    const { signal } = stop;
    const span = await blocks.acquire(object, begin, end, { priority, wide, signal, served, local: true, standIn: instead });
    if (missing) origins.reached(store.uri);
    return span;
  } catch (error) {
    origins.failed(store.uri, late ?? error);
    throw late ?? error;
  } finally {
    countdown?.stop();
  }
}

/** Says no more than a code: messages may name what the asker has no business with. */
export function notHad(error: unknown): PeerRefusal {
  return new PeerRefusal(502, "origin", `the blocks could not be had (${(error as { code?: string }).code ?? "failure"})`);
}

/** Calls `taken` when the socket has taken all of it. */
function write(
  response: ServerResponse,
  request: BlockRequest,
  span: SpanLease,
  proof: Proof | undefined,
  context: ReplyContext,
  taken: () => void,
): void {
  const { begin, end, whole, ranged } = request;
  const { id, blocks, counters, stallMs } = context;
  const parts = partsOf(span, begin, end, blocks.blockSize);
  const checksums = formatChecksums(parts.map((part, i) => checksumOf(part, span.leases[i]!)));
  const length = end - begin;
  response.setTimeout(stallMs, () => cutOff(response, counters));
  response.writeHead(ranged ? 206 : 200, {
    "content-type": "application/octet-stream",
    "content-length": length,
    ...(ranged && { "content-range": `bytes ${begin - whole.begin}-${end - whole.begin - 1}/${whole.end - whole.begin}` }),
    [HEADER.peer]: encodeURIComponent(id),
    [HEADER.crc32c]: checksums,
    ...(proof && { [HEADER.proof]: proof.auth.prove(proof.authorization, answerParts(id, length, checksums)) }),
  });
  for (const part of parts.slice(0, -1)) response.write(part);
  response.write(parts.at(-1)!, () => {
    // Of a write that its socket's end has ended, Node says nothing wrong.
    if (response.socket?.destroyed === false) taken();
  });
  response.end();
}

/** The bytes as the blocks have them: no copies. */
function partsOf(span: SpanLease, begin: number, end: number, blockSize: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = begin; at < end; ) {
    const next = Math.min(end, (Math.floor(at / blockSize) + 1) * blockSize);
    parts.push(span.view(at, next));
    at = next;
  }
  return parts;
}

/** What is asked for is mostly whole blocks, and by every other node. */
function checksumOf(part: Uint8Array, block: BlockLease): number {
  return part.length === block.bytes.length ? block.checksum : crc32c(part);
}

function cutOff(response: ServerResponse, counters: PeerServerCounters): void {
  counters.cutOff++;
  response.destroy();
}

function count({ begin, end }: BlockRequest, span: SpanLease, counters: PeerServerCounters): void {
  counters.answered++;
  counters.blocks += span.leases.length;
  counters.bytes += end - begin;
}

/** Answers how many bytes of something this node holds; no bytes of it are sent. */
import type { ServerResponse } from "node:http";
import type { ObjectVersion } from "../blocks/object-version.js";
import { withBeats } from "./beats.js";
import { acquire, notHad, type ReplyContext } from "./block-reply.js";
import type { Held } from "./held-protocol.js";
import { heldParts, type Proof } from "./peer-answers.js";
import { type BlockRequest, HEADER, PeerRefusal, unknownObject } from "./peer-protocol.js";

/** Longest that an asker is kept waiting, milliseconds: below its own limit of 30 s. It may ask again. */
const ANSWER_MS = 20_000;

/** Answers with what `work` finds; undefined: nothing that this node serves. Resolves to a refusal where nothing was answered. */
export async function replyHeld(
  response: ServerResponse,
  work: (stop: AbortController) => Promise<Held | undefined>,
  proof: Proof | undefined,
  { id, clock, counters }: ReplyContext,
): Promise<PeerRefusal | undefined> {
  const stop = new AbortController();
  response.once("close", () => stop.abort());
  if (response.destroyed) stop.abort();
  const cancel = clock.after(ANSWER_MS, () => stop.abort());
  try {
    const held = await withBeats(response, clock, () => work(stop));
    if (held === undefined) return unknownObject();
    send(response, id, JSON.stringify(held), proof);
    return undefined;
  } catch (error) {
    if (!stop.signal.aborted) return notHad(error);
    if (!response.destroyed) return new PeerRefusal(503, "busy", "this peer is busy");
    counters.abandoned++;
    return undefined;
  } finally {
    cancel();
  }
}

/** Fetches the blocks where they are missing, so that they are held as their mount says. */
export async function hold(
  request: BlockRequest,
  object: ObjectVersion,
  stop: AbortController,
  context: Pick<ReplyContext, "blocks" | "counters" | "origins" | "clock">,
): Promise<Held> {
  const { begin, end } = request;
  const before = context.blocks.cachedBytes(object, begin, end);
  (await acquire(request, object, stop, context)).release();
  return { before, bytes: context.blocks.cachedBytes(object, begin, end) };
}

function send(response: ServerResponse, id: string, body: string, proof: Proof | undefined): void {
  response.writeHead(200, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(body),
    [HEADER.peer]: encodeURIComponent(id),
    ...(proof && { [HEADER.proof]: proof.auth.prove(proof.authorization, heldParts(id, body)) }),
  });
  response.end(body);
}

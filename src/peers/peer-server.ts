/** Serves this node's blocks to its peers, over HTTP or, with certificates on both sides, HTTPS. Docs: peer-protocol.ts. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { ObjectVersion } from "../blocks/object-version.js";
import type { CacheLog } from "../cache/disk-tier.js";
import { MillraceError } from "../errors.js";
import { type AlarmClock, systemAlarmClock } from "../util/alarm-clock.js";
import { unlessAborted } from "../util/unless-aborted.js";
import { AskerLimits, SERVING_LIMITS, type ServingLimits } from "./asker-limits.js";
import { PeerAuth, type PeerAuthOptions } from "./auth.js";
import { type ReplyContext, replyBlocks, type ServedBlocks } from "./block-reply.js";
import { HELD_PATH, type Held } from "./held-protocol.js";
import { hold, replyHeld } from "./held-reply.js";
import { checkListen, type PeerTls } from "./listen.js";
import type { Proof } from "./peer-answers.js";
import { PeerServerCounters } from "./peer-counters.js";
import { peerHttpServer } from "./peer-http.js";
import {
  formatIdentity,
  formatTerms,
  HEADER,
  type Headers,
  isBlocksPath,
  type ObjectIdentity,
  PEER_PATH,
  type PeerIdentity,
  PeerRefusal,
  parseBlockRequest,
  parseUriHeader,
  signedParts,
  unknownObject,
} from "./peer-protocol.js";
import { UnreachableOrigins } from "./unreachable-origins.js";

/** An identity must fit into what an asker reads of an answer that is no bytes. */
const MAX_IDENTITY_BYTES = 8 * 1024;
/** More than 8 from each of 1,000 nodes would be too many for a thread anyway. */
const MAX_CONNECTIONS = 8192;
const STALL_MS = 10_000;
/** What `close` grants the answers under way, milliseconds. */
const DRAIN_MS = 5_000;
/** Seconds that a busy peer asks for. */
const RETRY_AFTER = "1";

export interface PeerServerOptions {
  /** `host:port`, `[IPv6]:port` or `:port`. */
  readonly listen: string;
  readonly identity: PeerIdentity;
  readonly blocks: ServedBlocks;
  /** The object among this node's own mounts; undefined where none of them holds it. Its id is checked again. */
  readonly resolve: (object: ObjectIdentity) => ObjectVersion | undefined | Promise<ObjectVersion | undefined>;
  /** Bytes held of what lies below a URI; undefined where no mount here covers it. Default: none does. */
  readonly heldBelow?: ((uri: string) => Promise<number | undefined>) | undefined;
  /** What `/readyz` says. Default: ready until `close`. */
  readonly ready?: (() => boolean) | undefined;
  readonly auth?: PeerAuthOptions | undefined;
  readonly tls?: PeerTls | undefined;
  readonly log?: CacheLog | undefined;
  readonly clock?: AlarmClock | undefined;
  readonly limits?:
    | Partial<ServingLimits & { readonly connections: number; readonly stallMs: number; readonly drainMs: number }>
    | undefined;
}

export class PeerServer {
  readonly counters: PeerServerCounters = new PeerServerCounters();
  readonly #options: PeerServerOptions;
  readonly #auth: PeerAuth | undefined;
  readonly #server: Server;
  readonly #askers: AskerLimits;
  readonly #reply: ReplyContext;
  readonly #identity: string;
  readonly #terms: string;
  #closed: Promise<void> | undefined;

  /** Listens. Throws MILLRACE_CONFIG where the address is wrong, taken, or open to strangers. */
  static async start(options: PeerServerOptions): Promise<PeerServer> {
    const { host, port } = checkListen(options.listen, options.auth?.secret, options.tls);
    const server = new PeerServer(options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once("error", (cause) => {
        reject(new MillraceError("MILLRACE_CONFIG", `peers.listen: cannot listen at ${options.listen} (${cause.message})`, { cause }));
      });
      server.#server.listen({ port, ...(host !== undefined && { host }) }, resolve);
    });
    server.#server.removeAllListeners("error");
    server.#server.on("error", (error) => options.log?.("error", { error: error.message }, "The peer server failed"));
    return server;
  }

  private constructor(options: PeerServerOptions) {
    this.#options = options;
    const { auth, identity, blocks, limits = {}, clock = systemAlarmClock } = options;
    this.#auth = auth && new PeerAuth(auth);
    this.#askers = new AskerLimits({ ...SERVING_LIMITS, ...limits }, clock);
    this.#reply = {
      id: identity.id,
      blocks,
      clock,
      counters: this.counters,
      origins: new UnreachableOrigins(clock),
      stallMs: limits.stallMs ?? STALL_MS,
    };
    this.#identity = formatIdentity(identity);
    this.#terms = formatTerms(identity);
    if (Buffer.byteLength(this.#identity) > MAX_IDENTITY_BYTES)
      throw new MillraceError("MILLRACE_CONFIG", `peers.labels: id and labels take more than ${MAX_IDENTITY_BYTES} bytes together`);
    this.#server = peerHttpServer((request, response) => void this.#handle(request, response), options.tls);
    this.#server.maxConnections = limits.connections ?? MAX_CONNECTIONS;
    this.#server.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => this.#malformed(error, socket));
    this.#server.on("drop", () => this.counters.dropped++);
    this.#server.on("tlsClientError", () => this.counters.tlsFailures++);
  }

  /** Where it listens. */
  get address(): { readonly host: string; readonly port: number } {
    const { address, port } = this.#server.address() as AddressInfo;
    return { host: address, port };
  }

  /** Requests under way. */
  get inFlight(): number {
    return this.#askers.requests;
  }

  /** Takes no more, finishes what is under way, cuts off what takes too long. Idempotent. */
  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const { limits, clock = systemAlarmClock } = this.#options;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const cancel = clock.after(limits?.drainMs ?? DRAIN_MS, () => this.#server.closeAllConnections());
    await closed;
    cancel();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const refusal = await this.#answer(request, response);
      if (refusal !== undefined) this.#refuse(request, response, refusal);
    } catch (error) {
      this.#options.log?.("error", { error: (error as Error).message }, "A peer's request failed");
      response.destroy();
    }
    // Node keeps a connection that was busy when the server was closed until it has been idle for a while.
    if (this.#closed !== undefined) setImmediate(() => this.#server.closeIdleConnections());
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<PeerRefusal | undefined> {
    const path = request.url!;
    if (path === "/healthz") return this.#say(response, 200, "ok");
    if (path === "/readyz") return this.#isReady() ? this.#say(response, 200, "ready") : this.#say(response, 503, "not ready");
    const refusal = this.#screen(request, path);
    if (refusal !== undefined) return refusal;
    const { authorization } = request.headers;
    const proof = this.#auth && { auth: this.#auth, authorization: authorization! };
    if (path === HELD_PATH) return this.#heldBelow(request, response, proof);
    if (path !== PEER_PATH) return this.#blocks(request, response, path, proof);
    const headers = proof && { [HEADER.proof]: proof.auth.prove(proof.authorization, ["peer", this.#identity]) };
    return this.#say(response, 200, this.#identity, { "content-type": "application/json", ...headers });
  }

  /** What costs next to nothing to find wrong. */
  #screen(request: IncomingMessage, path: string): PeerRefusal | undefined {
    const { headers, method } = request;
    if (headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) !== 0)
      return new PeerRefusal(413, "oversized", "a request has no body");
    if (path !== PEER_PATH && path !== HELD_PATH && !isBlocksPath(path)) return new PeerRefusal(404, "path", "no such path");
    if (method !== "GET") return new PeerRefusal(405, "malformed", "GET is all that is answered");
    const failure = this.#auth?.check(signedParts(path, headers), headers.authorization);
    if (failure !== undefined) return new PeerRefusal(401, failure, `the request is not a peer's (${failure})`);
    if (this.#closed !== undefined) return new PeerRefusal(503, "closing", "this peer is closing");
    return undefined;
  }

  async #blocks(
    request: IncomingMessage,
    response: ServerResponse,
    path: string,
    proof: Proof | undefined,
  ): Promise<PeerRefusal | undefined> {
    const { resolve, blocks } = this.#options;
    const headers: Headers = request.headers;
    if (headers[HEADER.options] !== this.#terms) return new PeerRefusal(409, "options", `the options differ (here: ${this.#terms})`);
    const wanted = parseBlockRequest(path, headers, blocks.blockSize);
    if (wanted instanceof PeerRefusal) return wanted;
    const leave = this.#askers.enter(String(headers[HEADER.peer]), wanted.end - wanted.begin);
    if (leave === undefined) return new PeerRefusal(503, "busy", "this peer is busy");
    try {
      const object = await resolve(wanted.object);
      if (object?.id !== wanted.objectId) return unknownObject();
      return path.startsWith(HELD_PATH)
        ? await replyHeld(response, (stop) => hold(wanted, object, stop, this.#reply), proof, this.#reply)
        : await replyBlocks(response, wanted, object, proof, this.#reply);
    } finally {
      leave();
    }
  }

  async #heldBelow({ headers }: IncomingMessage, response: ServerResponse, proof: Proof | undefined): Promise<PeerRefusal | undefined> {
    const uri = parseUriHeader(headers);
    if (uri === undefined) return new PeerRefusal(400, "malformed", "the headers name no URI");
    const leave = this.#askers.enter(String(headers[HEADER.peer]), 0);
    if (leave === undefined) return new PeerRefusal(503, "busy", "this peer is busy");
    const work = async ({ signal }: AbortController): Promise<Held | undefined> => {
      // It goes on for whoever asks next.
      const bytes = await unlessAborted(this.#options.heldBelow?.(uri) ?? Promise.resolve(undefined), signal, "The question");
      return bytes === undefined ? undefined : { before: bytes, bytes };
    };
    try {
      return await replyHeld(response, work, proof, this.#reply);
    } finally {
      leave();
    }
  }

  #refuse(request: IncomingMessage, response: ServerResponse, { status, reason, message }: PeerRefusal): void {
    this.counters.refused[reason]++;
    const headers: Record<string, string> = {};
    if (status === 503) headers["retry-after"] = RETRY_AFTER;
    if (status === 405) headers.allow = "GET";
    if (reason === "expired") {
      const time = String(this.#auth!.now());
      headers[HEADER.time] = time;
      headers[HEADER.proof] = this.#auth!.prove(request.headers.authorization!, ["expired", time]);
    } else if (status === 400 || status === 401 || status === 404 || status === 405 || status === 413) headers.connection = "close";
    this.#say(response, status, `${message}\n`, headers);
  }

  #say(response: ServerResponse, status: number, text: string, headers: Readonly<Record<string, string>> = {}): undefined {
    if (this.#closed !== undefined) response.setHeader("connection", "close");
    const body = Buffer.from(text);
    response.writeHead(status, { "content-type": "text/plain", ...headers, "content-length": body.length }).end(body);
  }

  #isReady(): boolean {
    return this.#closed === undefined && (this.#options.ready?.() ?? true);
  }

  /** What Node's parser does not take: no request has come of it. */
  #malformed(error: NodeJS.ErrnoException, socket: Socket): void {
    const { code } = error;
    if (code === "ECONNRESET" || !socket.writable) {
      socket.destroy();
      return;
    }
    const oversized = code === "HPE_HEADER_OVERFLOW";
    this.counters.refused[oversized ? "oversized" : "malformed"]++;
    socket.end(
      `HTTP/1.1 ${oversized ? "431 Request Header Fields Too Large" : "400 Bad Request"}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`,
    );
  }
}

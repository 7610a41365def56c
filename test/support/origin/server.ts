/** The origin's request path: count, fault, latency, authentication, action. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { Actions, sendXml } from "./actions.js";
import { checkRead, parseRange } from "./conditions.js";
import { Counters } from "./counters.js";
import { injectedError, S3Error } from "./errors.js";
import { Objects, type OriginObject } from "./objects.js";
import { type OriginRequest, parseRequest } from "./request.js";
import { sendBody } from "./respond.js";
import { Shaper } from "./shaping.js";
import { SignatureVerifier } from "./sigv4.js";
import type { Fault, OriginOptions } from "./types.js";
import { xmlDocument } from "./xml.js";

export class OriginServer {
  readonly objects: Objects = new Objects();
  readonly counters: Counters = new Counters();
  readonly shaper: Shaper = new Shaper();
  readonly verifier: SignatureVerifier;
  readonly #actions: Actions;
  readonly #anonymousRead: boolean;
  #nextRequest = 1;

  constructor(options: OriginOptions) {
    const region = options.region ?? "us-east-1";
    this.verifier = new SignatureVerifier(region);
    this.#actions = new Actions(this.objects, this.counters, region, () => this.shaper.shape.without?.includes("checksums") !== true);
    this.#anonymousRead = options.anonymousRead ?? false;
    this.shaper.set(options.shape ?? {});
    for (const name of options.buckets ?? []) this.objects.create(name);
    if (options.root !== undefined) this.objects.addRoot(options.root);
  }

  /** Answers one request; never throws. */
  handle(http: IncomingMessage, response: ServerResponse): void {
    response.setHeader("x-amz-request-id", `request-${this.#nextRequest++}`);
    const offset = this.shaper.shape.clockOffsetMs;
    if (offset !== undefined) response.setHeader("date", new Date(Date.now() + offset).toUTCString());
    this.#answer(http, response).catch((error: unknown) => this.#fail(response, error));
  }

  async #answer(http: IncomingMessage, response: ServerResponse): Promise<void> {
    const request = parseRequest(http);
    this.counters.begin(request.kind, http.socket);
    response.once("close", () => {
      this.counters.end();
      if (response.headersSent) this.counters.status(response.statusCode);
    });
    const fault = this.shaper.fault(request.kind, request.key);
    if (fault !== undefined) this.counters.fault();
    if (fault === "hang") return;
    if (fault === "reset") {
      http.socket.resetAndDestroy();
      return;
    }
    const latency = this.shaper.latency();
    if (latency > 0) await sleep(latency);
    if (fault !== undefined && fault !== "stall" && fault !== "truncate") return this.#inject(response, fault);
    this.#authenticate(request);
    if (request.kind === "get" || request.kind === "head") return this.#object(request, response, fault);
    if (request.kind === "multipart") return this.#actions.multipart(request, response);
    if (request.kind === "put") return this.#actions.put(request, response);
    if (request.kind === "delete") return this.#actions.delete(request, response);
    return this.#actions.bucket(request, response);
  }

  #authenticate(request: OriginRequest): void {
    const { method, rawPath, query, http, bucket, key } = request;
    const now = Date.now() + (this.shaper.shape.clockOffsetMs ?? 0);
    request.payloadHash = this.verifier.verify({ method, rawPath, query, headers: http.headers }, now);
    const reads = method === "GET" || method === "HEAD";
    if (request.payloadHash === undefined && !(this.#anonymousRead && reads)) throw new S3Error("AccessDenied");
    if (this.shaper.shape.deny?.some((prefix) => `${bucket}/${key}`.startsWith(prefix))) throw new S3Error("AccessDenied");
  }

  async #object(request: OriginRequest, response: ServerResponse, fault: Fault | undefined): Promise<void> {
    const { bucket, key, http } = request;
    const without = this.shaper.shape.without ?? [];
    if (request.kind === "head" && without.includes("head")) throw new S3Error("MethodNotAllowed");
    const object = this.objects.bucket(bucket).get(key);
    if (checkRead(http.headers, object) === 304) {
      response.writeHead(304, { etag: object.etag });
      response.end();
      return;
    }
    const range = without.includes("ranges") ? undefined : parseRange(http.headers, object, object.size);
    const { begin, end } = range ?? { begin: 0, end: object.size };
    this.#writeHead(response, object, begin, end, range !== undefined);
    if (request.kind === "head") {
      response.end();
      return;
    }
    const count = this.counters.range(`${bucket}/${key}`, begin, end);
    await sendBody(response, object, { begin, end }, { shaper: this.shaper, cut: fault as "stall" | "truncate" | undefined, count });
  }

  #writeHead(response: ServerResponse, object: OriginObject, begin: number, end: number, partial: boolean): void {
    const without = this.shaper.shape.without ?? [];
    const headers: Record<string, string | number> = {
      "content-type": "binary/octet-stream",
      ...object.headers,
      "content-length": end - begin,
      "last-modified": new Date(object.lastModified).toUTCString(),
    };
    if (!without.includes("etag")) headers.etag = object.etag;
    if (!without.includes("ranges")) headers["accept-ranges"] = "bytes";
    if (partial) headers["content-range"] = `bytes ${begin}-${end - 1}/${object.size}`;
    response.writeHead(partial ? 206 : 200, headers);
  }

  #inject(response: ServerResponse, fault: Fault): void {
    const { status, error } = injectedError(fault, this.shaper.shape.retryAfterSeconds);
    this.#sendError(response, status, error);
  }

  #fail(response: ServerResponse, thrown: unknown): void {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    const error = thrown instanceof S3Error ? thrown : new S3Error("InternalError", String(thrown));
    this.#sendError(response, error.status, error);
  }

  #sendError(response: ServerResponse, status: number, error: S3Error): void {
    const document = xmlDocument("Error", {
      Code: error.code,
      Message: error.message,
      RequestId: String(response.getHeader("x-amz-request-id")),
    });
    sendXml(response, status, document, error.headers);
  }
}

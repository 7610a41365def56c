/** The control path: plain HTTP on a port of its own, so that it is neither signed, shaped nor counted. */
import { randomBytes } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { OriginServer } from "./server.js";
import type { Fault, FaultFilter, OriginCredentials, Shape } from "./types.js";

async function bodyOf(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export class Control {
  readonly #origin: OriginServer;
  readonly #tokenLifeMs: number;

  constructor(origin: OriginServer, tokenLifeMs: number) {
    this.#origin = origin;
    this.#tokenLifeMs = tokenLifeMs;
  }

  handle(request: IncomingMessage, response: ServerResponse): void {
    this.#answer(request).then(
      (result) => response.end(JSON.stringify(result ?? null)),
      (error: unknown) => {
        response.statusCode = 400;
        response.end(JSON.stringify(String(error)));
      },
    );
  }

  async #answer(request: IncomingMessage): Promise<unknown> {
    const [, operation, bucket, ...key] = (request.url ?? "/").split("/").map(decodeURIComponent);
    const body = await bodyOf(request);
    if (operation === "put") {
      this.#origin.objects.create(bucket!).put(key.join("/"), body, {});
      return undefined;
    }
    const argument: unknown = body.length === 0 ? undefined : JSON.parse(body.toString());
    if (operation === "stats") return this.#origin.counters.snapshot();
    if (operation === "reset") return this.#origin.counters.reset();
    if (operation === "shape") return this.#origin.shaper.set(argument as Shape);
    if (operation === "clear-faults") return this.#origin.shaper.clearFaults();
    if (operation === "expire-tokens") return this.#origin.verifier.expireTokens();
    if (operation === "issue") return this.#issue(argument as number | null);
    if (operation !== "fail-next") throw new Error(`no such control operation: ${operation}`);
    const { count, fault, filter } = argument as { count: number; fault: Fault; filter: FaultFilter };
    return this.#origin.shaper.failNext(count, fault, filter);
  }

  #issue(lifeMs: number | null): OriginCredentials {
    const expiresAt = Date.now() + (lifeMs ?? this.#tokenLifeMs);
    const identity = {
      accessKeyId: `ASIA${randomBytes(8).toString("hex").toUpperCase()}`,
      secretAccessKey: randomBytes(20).toString("hex"),
      sessionToken: randomBytes(40).toString("base64"),
    };
    this.#origin.verifier.add({ ...identity, expiresAt });
    return { ...identity, expiration: new Date(expiresAt).toISOString() };
  }
}

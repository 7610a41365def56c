/** The origin seen from a test: everything goes over its control URL, so another process can use it as well. */
import { request } from "node:http";
import type { Fault, FaultFilter, OriginCredentials, OriginInfo, OriginStats, Shape } from "./types.js";

export interface OriginClient extends OriginInfo {
  /** Same as `endpoint`. */
  readonly url: string;
  stats(): Promise<OriginStats>;
  /** Sets all counts to nought; objects, shape and planned faults stay. */
  reset(): Promise<void>;
  /** Replaces the shape: `{}` is an origin that shapes nothing. */
  shape(shape: Shape): Promise<void>;
  /** The next `count` matching requests fail so. Plans made earlier go first. */
  failNext(count: number, fault: Fault, filter?: FaultFilter): Promise<void>;
  /** Forgets what `failNext` planned. */
  clearFaults(): Promise<void>;
  /** Stores an object, unsigned, unshaped, uncounted; makes the bucket where it is missing. */
  put(bucket: string, key: string, bytes: Uint8Array): Promise<void>;
  /** Fresh temporary credentials, as STS would give; `lifeMs` defaults to the origin's `expireTokensAfter`. */
  issue(lifeMs?: number): Promise<OriginCredentials>;
  /** All tokens issued so far are expired from now on. */
  expireTokens(): Promise<void>;
}

function post(url: string, body: Uint8Array | undefined): Promise<unknown> {
  return new Promise((resolve, reject) => {
    // No agent: a kept socket would outlive the test that asked.
    const call = request(url, { method: "POST", agent: false, headers: { "content-length": body?.byteLength ?? 0 } }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () => {
        const result: unknown = JSON.parse(Buffer.concat(chunks).toString());
        if (response.statusCode === 200) resolve(result);
        else reject(new Error(`origin control ${new URL(url).pathname}: ${String(result)}`));
      });
    });
    call.on("error", reject);
    call.end(body);
  });
}

/** A handle on an origin that runs already. */
export function connectOrigin(info: OriginInfo): OriginClient {
  const call = (operation: string, argument?: unknown): Promise<unknown> =>
    post(`${info.controlUrl}/${operation}`, argument === undefined ? undefined : Buffer.from(JSON.stringify(argument)));
  return {
    ...info,
    url: info.endpoint,
    stats: async () => (await call("stats")) as OriginStats,
    reset: async () => void (await call("reset")),
    shape: async (shape) => void (await call("shape", shape)),
    failNext: async (count, fault, filter = {}) => void (await call("fail-next", { count, fault, filter })),
    clearFaults: async () => void (await call("clear-faults")),
    put: async (bucket, key, bytes) =>
      void (await post(`${info.controlUrl}/put/${encodeURIComponent(bucket)}/${key.split("/").map(encodeURIComponent).join("/")}`, bytes)),
    issue: async (lifeMs) => (await call("issue", lifeMs ?? null)) as OriginCredentials,
    expireTokens: async () => void (await call("expire-tokens")),
  };
}

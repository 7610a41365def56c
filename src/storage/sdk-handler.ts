import type { S3ClientConfig } from "@aws-sdk/client-s3";
import type { Dispatcher } from "undici";
import { header } from "./network-errors.js";

/** A request as the SDK hands it to its HTTP client. */
interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly method: string;
  /** Percent-encoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | readonly string[] | null>> | undefined;
  readonly headers: Record<string, string>;
  readonly body?: Dispatcher.DispatchOptions["body"];
}

/**
 * An HTTP client for the SDK that sends by undici, for origins behind a proxy: Node's own client, which the SDK uses, knows none. The
 * dispatcher stays its owner's to close. It cannot send `Expect: 100-continue`.
 */
export function sdkHandler(agent: Dispatcher): NonNullable<S3ClientConfig["requestHandler"]> {
  return {
    async handle(request: SdkRequest, { abortSignal }: { readonly abortSignal?: unknown } = {}) {
      const { protocol, hostname, port, method, path, headers, body } = request;
      const { statusCode, ...answer } = await agent.request({
        origin: `${protocol}//${hostname}${port === undefined ? "" : `:${port}`}`,
        path: path + queryOf(request),
        method: method as Dispatcher.HttpMethod,
        headers,
        body: body ?? null,
        signal: (abortSignal as AbortSignal | undefined) ?? null,
      });
      const names = Object.keys(answer.headers);
      const flat = Object.fromEntries(names.map((name) => [name, header(answer.headers, name)!]));
      return { response: { statusCode, headers: flat, body: answer.body } };
    },
    updateHttpClientConfig: () => undefined,
    httpHandlerConfigs: () => ({}),
  };
}

function queryOf({ query = {} }: SdkRequest): string {
  const parts = Object.entries(query).flatMap(([name, value]) =>
    value === null ? [encode(name)] : [value].flat().map((one) => `${encode(name)}=${encode(one)}`),
  );
  return parts.length === 0 ? "" : `?${parts.join("&")}`;
}

/** As signatures want it: all but RFC 3986's unreserved characters. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

import type { S3, S3ClientConfig } from "@aws-sdk/client-s3";
import type { S3Credentials, S3Options } from "../api.js";
import { abortedError, MillraceError, throwIfAborted } from "../errors.js";
import type { HttpTransports } from "./http-get.js";
import { DEFAULT_TIMEOUTS, type HttpTimeouts } from "./http-timeouts.js";
import { header, type Subject } from "./network-errors.js";
import { CredentialCache } from "./s3-credentials.js";
import { failureOfSdk, isExpired, isSkewed, type S3Failure, sdkError } from "./s3-errors.js";
import { sdkHandler } from "./sdk-handler.js";
import { type SigningRequest, Sigv4Signer } from "./sigv4.js";

/** Where a bucket is reached, as the SDK resolves it from options, environment and profile. */
interface Place {
  /** `https://host:port` */
  readonly origin: string;
  /** What a Host header says. */
  readonly host: string;
  /** What stands before the key in a request's path, with closing slash: `/` or `/bucket/`. */
  readonly base: string;
  readonly region: string;
}

type Sdk = typeof import("@aws-sdk/client-s3");

/** One call of the SDK, to be made with these options. */
export type SdkCall<T> = (client: S3, options: { readonly abortSignal?: AbortSignal }) => Promise<T>;

/** Loaded when the first s3 store opens, or before: those who have none need not hold it. */
export function loadSdk(): Promise<Sdk> {
  return import("@aws-sdk/client-s3");
}

/** What a server that is not AWS gets signed where no region is set: what most of them expect. */
const DEFAULT_REGION = "us-east-1";

/** For clients that sign nothing: the SDK wants some. */
const NO_CREDENTIALS = { accessKeyId: "anonymous", secretAccessKey: "-" };

/** Where one GET goes. */
export interface RequestTarget extends Pick<Place, "origin" | "host"> {
  /** Percent-encoded, without query. */
  readonly path: string;
}

/** What a signed request was signed with. */
export interface Signed {
  readonly headers: Record<string, string>;
  readonly credentials: S3Credentials | undefined;
}

/**
 * One bucket, ready for requests: the SDK for control calls, place and signature for GETs of our own. The SDK's own retries are off: the retry around the store bounds them all.
 */
export class S3Connection {
  readonly client: S3;
  readonly place: Place;
  readonly #signer: Sigv4Signer;
  readonly #credentials: CredentialCache | undefined;
  #clockOffsetMs = 0;

  private constructor(client: S3, place: Place, credentials: CredentialCache | undefined) {
    this.client = client;
    this.place = place;
    this.#signer = new Sigv4Signer(place.region);
    this.#credentials = credentials;
  }

  /** Throws MILLRACE_CONFIG where no region is known or the endpoint is not valid. Makes no request. */
  static async open(bucket: string, options: S3Options, timeouts: HttpTimeouts, transports: HttpTransports): Promise<S3Connection> {
    const sdk = await loadSdk();
    const { credentials } = options;
    const own = credentials && new CredentialCache(typeof credentials === "function" ? credentials : async () => credentials);
    const config = clientConfig(options, timeouts, own);
    const place = await locate(sdk, config, bucket);
    const proxied = transports.proxied(place.origin) && { requestHandler: sdkHandler(transports.agent), expectContinueHeader: false };
    const client = new sdk.S3({ ...config, ...proxied, region: place.region });
    return new S3Connection(client, place, options.anonymous ? undefined : (own ?? new CredentialCache(() => client.config.credentials())));
  }

  /** The request's headers, signed unless anonymous. */
  async sign(request: SigningRequest, headers: Record<string, string>): Promise<Signed> {
    if (this.#credentials === undefined) return { headers, credentials: undefined };
    const credentials = await this.#credentials.get();
    const signature = this.#signer.sign(request, credentials, new Date(Date.now() + this.#clockOffsetMs));
    return { headers: Object.assign(signature, headers), credentials };
  }

  /** Makes a call of the SDK. Expired credentials and a wrong clock are mended once. */
  async send<T>(call: SdkCall<T>, subject: Subject, signal: AbortSignal | undefined): Promise<T> {
    for (let mended = false; ; mended = true) {
      throwIfAborted(signal, "The request");
      const used = await this.#credentials?.get();
      try {
        return await call(this.client, signal === undefined ? {} : { abortSignal: signal });
      } catch (error) {
        if (signal?.aborted) throw abortedError(signal, "The request");
        const failure = failureOfSdk(error);
        if (mended || failure === undefined || !(await this.mend(failure, used))) throw sdkError(error, subject);
      }
    }
  }

  /** True where the failure was one of time or credentials, and another try has better ones. */
  async mend(failure: S3Failure, used: S3Credentials | undefined): Promise<boolean> {
    if (this.#credentials === undefined || used === undefined) return false;
    if (isSkewed(failure)) {
      const serverTime = Date.parse(header(failure.headers, "date") ?? "");
      if (Number.isNaN(serverTime)) return false;
      this.#clockOffsetMs = serverTime - Date.now();
      return true;
    }
    if (!isExpired(failure)) return false;
    await this.#credentials.replace(used);
    // The SDK keeps what it was given; without this it would sign with it again.
    await this.client.config.credentials({ forceRefresh: true });
    return true;
  }
}

function clientConfig(options: S3Options, timeouts: HttpTimeouts, own: CredentialCache | undefined): S3ClientConfig {
  const { endpoint, region, forcePathStyle, anonymous } = options;
  return {
    ...(endpoint !== undefined && { endpoint }),
    ...(region !== undefined && { region }),
    ...(forcePathStyle !== undefined && { forcePathStyle }),
    ...(own && { credentials: async () => sdkCredentials(await own.get()) }),
    ...(anonymous && { credentials: NO_CREDENTIALS, signer: { sign: async (request) => request } }),
    maxAttempts: 1,
    // Servers other than AWS refuse or ignore the SDK's newer trailing checksums.
    requestChecksumCalculation: "WHEN_REQUIRED",
    responseChecksumValidation: "WHEN_REQUIRED",
    requestHandler: {
      connectionTimeout: timeouts.connectMs ?? DEFAULT_TIMEOUTS.connectMs,
      requestTimeout: timeouts.headMs ?? DEFAULT_TIMEOUTS.headMs,
      throwOnRequestTimeout: true,
    },
  };
}

function sdkCredentials({ accessKeyId, secretAccessKey, sessionToken, expiration }: S3Credentials): {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken?: string;
  expiration?: Date;
} {
  return { accessKeyId, secretAccessKey, ...(sessionToken && { sessionToken }), ...(expiration && { expiration }) };
}

/** The place of a bucket by a client that is thrown away, so that nobody is asked for credentials. */
async function locate(sdk: Sdk, config: S3ClientConfig, bucket: string): Promise<Place> {
  const region = await configuredRegion(sdk, config);
  const client = new sdk.S3({ ...config, credentials: NO_CREDENTIALS, region: region ?? DEFAULT_REGION });
  try {
    const { protocol, hostname, port, path } = await builtRequest(sdk, client, bucket);
    if (region === undefined && hostname.endsWith(".amazonaws.com")) throw new Error("no region: set s3.region or AWS_REGION");
    const host = port === undefined ? hostname : `${hostname}:${port}`;
    return { origin: `${protocol}//${host}`, host, base: path.slice(0, -1), region: region ?? DEFAULT_REGION };
  } catch (error) {
    const message = `s3://${bucket}: ${(error as Error).message}; check the bucket's name and s3.endpoint`;
    throw new MillraceError("MILLRACE_CONFIG", message, { cause: error });
  } finally {
    client.destroy();
  }
}

/** From the options, the environment or the profile. */
async function configuredRegion(sdk: Sdk, config: S3ClientConfig): Promise<string | undefined> {
  // The SDK takes "fips" out of a region's name.
  if (typeof config.region === "string" && !config.region.includes("fips")) return config.region;
  const probe = new sdk.S3({ ...config, credentials: NO_CREDENTIALS });
  const region = await probe.config.region().catch(() => undefined);
  probe.destroy();
  return region;
}

/** Lets the SDK build the GET of the key "k", and takes it before it is sent: so its requests and ours always go to the same server. */
async function builtRequest(
  sdk: Sdk,
  client: S3,
  bucket: string,
): Promise<{ protocol: string; hostname: string; port?: number; path: string }> {
  const command = new sdk.GetObjectCommand({ Bucket: bucket, Key: "k" });
  let built: unknown;
  command.middlewareStack.add(
    () => async (args) => {
      built = args.request;
      return { response: {}, output: { $metadata: {} } };
    },
    { step: "build", priority: "high" },
  );
  await client.send(command);
  return built as { protocol: string; hostname: string; port?: number; path: string };
}

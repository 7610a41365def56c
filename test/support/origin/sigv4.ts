/**
 * Checks AWS Signature Version 4, in the Authorization header or in the query (presigned), as S3 does: the path is
 * encoded once, every x-amz-* header must be signed, the clock may differ by 15 minutes. Signatures of the single
 * chunks of an aws-chunked body are not checked.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { S3Error } from "./errors.js";

export interface Identity {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string | undefined;
  /** Milliseconds since 1970; after it the token is refused with ExpiredToken. */
  expiresAt: number;
}
export interface SignedRequest {
  readonly method: string;
  /** As sent, without the query. */
  readonly rawPath: string;
  readonly query: ReadonlyMap<string, string>;
  readonly headers: IncomingHttpHeaders;
}
interface Claim {
  readonly accessKeyId: string;
  readonly date: string;
  readonly scope: string;
  readonly region: string;
  readonly timestamp: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
  readonly payloadHash: string;
  readonly token: string | undefined;
  readonly expiresMs: number | undefined;
}

const MAX_SKEW_MS = 15 * 60_000;
const hmac = (key: string | Buffer, text: string): Buffer => createHmac("sha256", key).update(text).digest();

/** RFC 3986 encoding as SigV4 wants it. */
export function encodeRfc3986(text: string, keepSlash = false): string {
  const encoded = encodeURIComponent(text).replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
  return keepSlash ? encoded.replaceAll("%2F", "/") : encoded;
}

function canonicalRequest(request: SignedRequest, claim: Claim): string {
  const query = [...request.query]
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => `${encodeRfc3986(name)}=${encodeRfc3986(value)}`)
    .sort()
    .join("&");
  let headers = "";
  for (const name of claim.signedHeaders)
    headers += `${name}:${String(request.headers[name] ?? "")
      .trim()
      .replace(/ +/g, " ")}\n`;
  const path = encodeRfc3986(decodeURIComponent(request.rawPath), true);
  return `${request.method}\n${path}\n${query}\n${headers}\n${claim.signedHeaders.join(";")}\n${claim.payloadHash}`;
}

function headerClaim(authorization: string, request: SignedRequest): Claim {
  const match =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
      authorization,
    );
  const timestamp = request.headers["x-amz-date"];
  const payloadHash = request.headers["x-amz-content-sha256"];
  if (match === null || typeof timestamp !== "string") throw new S3Error("AuthorizationHeaderMalformed");
  if (typeof payloadHash !== "string")
    throw new S3Error("InvalidArgument", "Missing required header for this request: x-amz-content-sha256");
  const [, accessKeyId, date, region, signedHeaders, signature] = match as unknown as string[];
  return {
    accessKeyId: accessKeyId!,
    date: date!,
    region: region!,
    scope: `${date}/${region}/s3/aws4_request`,
    timestamp,
    signedHeaders: signedHeaders!.split(";"),
    signature: signature!,
    payloadHash,
    token: request.headers["x-amz-security-token"] as string | undefined,
    expiresMs: undefined,
  };
}

function queryClaim(query: ReadonlyMap<string, string>): Claim {
  const [accessKeyId, date, region, service, end] = (query.get("X-Amz-Credential") ?? "").split("/");
  const expires = Number(query.get("X-Amz-Expires"));
  const timestamp = query.get("X-Amz-Date");
  if (query.get("X-Amz-Algorithm") !== "AWS4-HMAC-SHA256" || end !== "aws4_request" || service !== "s3" || timestamp === undefined)
    throw new S3Error("AuthorizationQueryParametersError");
  if (!(expires >= 1 && expires <= 604_800)) throw new S3Error("AuthorizationQueryParametersError", "X-Amz-Expires must be 1 to 604800");
  return {
    accessKeyId: accessKeyId!,
    date: date!,
    region: region!,
    scope: `${date}/${region}/s3/aws4_request`,
    timestamp,
    signedHeaders: (query.get("X-Amz-SignedHeaders") ?? "").split(";"),
    signature: query.get("X-Amz-Signature") ?? "",
    payloadHash: query.get("X-Amz-Content-Sha256") ?? "UNSIGNED-PAYLOAD",
    token: query.get("X-Amz-Security-Token"),
    expiresMs: expires * 1000,
  };
}

function parseTimestamp(text: string): number {
  return Date.parse(text.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
}

export class SignatureVerifier {
  readonly #identities = new Map<string, Identity>();
  readonly #signingKeys = new Map<string, Buffer>();
  readonly #region: string;

  constructor(region: string) {
    this.#region = region;
  }

  add(identity: Identity): void {
    this.#identities.set(identity.accessKeyId, identity);
  }

  /** Ends the life of every session token there is. */
  expireTokens(): void {
    for (const identity of this.#identities.values()) if (identity.sessionToken !== undefined) identity.expiresAt = 0;
  }

  /** The payload hash that the signature covers, or undefined for an unsigned request. Throws S3Error. */
  verify(request: SignedRequest, now: number): string | undefined {
    const authorization = request.headers.authorization;
    if (authorization === undefined && !request.query.has("X-Amz-Signature")) return undefined;
    const claim = authorization === undefined ? queryClaim(request.query) : headerClaim(authorization, request);
    const identity = this.#identities.get(claim.accessKeyId);
    if (identity === undefined) throw new S3Error("InvalidAccessKeyId");
    this.#checkScope(claim, request);
    this.#checkTimes(claim, identity, now);
    const toSign = `AWS4-HMAC-SHA256\n${claim.timestamp}\n${claim.scope}\n${createHash("sha256").update(canonicalRequest(request, claim)).digest("hex")}`;
    const expected = hmac(this.#signingKey(identity, claim), toSign);
    const given = Buffer.from(claim.signature, "hex");
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) throw new S3Error("SignatureDoesNotMatch");
    return claim.payloadHash;
  }

  #checkScope(claim: Claim, request: SignedRequest): void {
    if (claim.region !== this.#region)
      throw new S3Error(
        "AuthorizationHeaderMalformed",
        `The authorization header is malformed; the region '${claim.region}' is wrong; expecting '${this.#region}'`,
        { "x-amz-bucket-region": this.#region },
      );
    const unsigned = Object.keys(request.headers).find((name) => name.startsWith("x-amz-") && !claim.signedHeaders.includes(name));
    if (unsigned !== undefined || !claim.signedHeaders.includes("host"))
      throw new S3Error("AccessDenied", `There were headers present in the request which were not signed: ${unsigned ?? "host"}`);
  }

  #checkTimes(claim: Claim, identity: Identity, now: number): void {
    const signedAt = parseTimestamp(claim.timestamp);
    if (!claim.timestamp.startsWith(claim.date)) throw new S3Error("AuthorizationHeaderMalformed");
    if (claim.expiresMs === undefined && !(Math.abs(signedAt - now) <= MAX_SKEW_MS)) throw new S3Error("RequestTimeTooSkewed");
    if (claim.expiresMs !== undefined && !(now <= signedAt + claim.expiresMs)) throw new S3Error("AccessDenied", "Request has expired");
    if (claim.token !== identity.sessionToken) throw new S3Error("InvalidToken");
    if (now >= identity.expiresAt) throw new S3Error("ExpiredToken");
  }

  #signingKey(identity: Identity, claim: Claim): Buffer {
    const id = `${identity.accessKeyId}/${claim.scope}`;
    let key = this.#signingKeys.get(id);
    if (key === undefined) {
      key = ["s3", "aws4_request"].reduce(hmac, hmac(hmac(`AWS4${identity.secretAccessKey}`, claim.date), claim.region));
      this.#signingKeys.set(id, key);
    }
    return key;
  }
}

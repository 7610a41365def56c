import { createHash, createHmac } from "node:crypto";
import type { S3Credentials } from "../api.js";

/** SHA-256 of nothing: the payload hash of every GET. */
const EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/** A request to sign. Header names in lower case; all headers given are signed. */
export interface SigningRequest {
  readonly method: string;
  readonly host: string;
  /** Percent-encoded once, as S3 wants it. */
  readonly path: string;
  /** Percent-encoded, sorted by name. Default: none. */
  readonly query?: string | undefined;
  /** Hex SHA-256 of the body, or UNSIGNED-PAYLOAD. Default: of no body. */
  readonly payloadHash?: string | undefined;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}

/**
 * AWS Signature Version 4 for requests of one service in one region
 * (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html). The day's key is kept: four of its five HMACs are saved.
 */
export class Sigv4Signer {
  readonly #region: string;
  readonly #service: string;
  #key: Buffer | undefined;
  #keyOf = "";

  constructor(region: string, service = "s3") {
    this.#region = region;
    this.#service = service;
  }

  /** The request's headers with those that sign it, but `host`, which the HTTP client sends. */
  sign(request: SigningRequest, credentials: S3Credentials, date: Date): Record<string, string> {
    const amzDate = `${date.toISOString().slice(0, 19).replace(/[-:]/g, "")}Z`;
    const payloadHash = request.payloadHash ?? EMPTY_SHA256;
    const headers: Record<string, string> = { ...request.headers, "x-amz-content-sha256": payloadHash, "x-amz-date": amzDate };
    if (credentials.sessionToken !== undefined) headers["x-amz-security-token"] = credentials.sessionToken;
    const all: Record<string, string> = { ...headers, host: request.host };
    const names = Object.keys(all).sort();
    const signed = names.join(";");
    let canonical = `${request.method}\n${request.path}\n${request.query ?? ""}\n`;
    for (const name of names) canonical += `${name}:${all[name]!.trim()}\n`;
    canonical += `\n${signed}\n${payloadHash}`;
    const day = amzDate.slice(0, 8);
    const scope = `${day}/${this.#region}/${this.#service}/aws4_request`;
    const text = `AWS4-HMAC-SHA256\n${amzDate}\n${scope}\n${createHash("sha256").update(canonical).digest("hex")}`;
    const signature = createHmac("sha256", this.#dayKey(day, credentials.secretAccessKey)).update(text).digest("hex");
    headers.authorization = `AWS4-HMAC-SHA256 Credential=${credentials.accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`;
    return headers;
  }

  #dayKey(day: string, secret: string): Buffer {
    const of = `${day}/${secret}`;
    if (this.#key === undefined || this.#keyOf !== of) {
      let key: Buffer = Buffer.from(`AWS4${secret}`);
      for (const part of [day, this.#region, this.#service, "aws4_request"]) key = createHmac("sha256", key).update(part).digest();
      this.#key = key;
      this.#keyOf = of;
    }
    return this.#key;
  }
}

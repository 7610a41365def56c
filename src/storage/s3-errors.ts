import { MillraceError } from "../errors.js";
import { header, networkError, type Refusal, type Subject, statusError } from "./network-errors.js";

/** What S3 said, from the XML of a response or from the SDK. */
export interface S3Failure extends Refusal {
  /** S3's error code; empty where the answer has no body, as for HEAD. */
  readonly code: string;
  readonly message: string;
  /** Where the bucket is, if the answer says so. */
  readonly region: string | undefined;
}

const EXPIRED: ReadonlySet<string> = new Set([
  "ExpiredToken",
  "ExpiredTokenException",
  "TokenRefreshRequired",
  "RequestExpired",
  "InvalidToken",
]);
/** Errors that pass, whatever their status: with the status that says what they mean. */
const PASSING: ReadonlyMap<string, number> = new Map([
  ["SlowDown", 503],
  ["Throttling", 503],
  ["ThrottlingException", 503],
  ["RequestTimeout", 500],
  ["InternalError", 500],
  ["OperationAborted", 500],
]);
const ELSEWHERE: ReadonlySet<string> = new Set(["PermanentRedirect", "AuthorizationHeaderMalformed", "TemporaryRedirect", "Redirect"]);

/** Long messages repeat the whole request. */
const MESSAGE_CHARACTERS = 300;

/** Reads the error of a response of our own. */
export function failureOf(refusal: Refusal): S3Failure {
  const { status, headers, body } = refusal;
  const region = header(headers, "x-amz-bucket-region") ?? element(body, "Region");
  return { status, headers, body, code: element(body, "Code") ?? "", message: element(body, "Message") ?? "", region };
}

function element(xml: string, name: string): string | undefined {
  const text = new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
  return text === undefined || text === "" ? undefined : text;
}

/** What the SDK's error holds of a response; undefined where there was none (network, abort, time-out). */
export function failureOfSdk(error: unknown): S3Failure | undefined {
  const { name, message, Region, $metadata, $response } = error as {
    name?: string;
    message?: string;
    Region?: string;
    $metadata?: { httpStatusCode?: number };
    $response?: { headers?: Record<string, string>; statusCode?: number };
  };
  const status = $metadata?.httpStatusCode ?? $response?.statusCode;
  if (status === undefined) return undefined;
  const headers = $response?.headers ?? {};
  // The SDK invents a name where HEAD's answer has no body.
  const code = name === undefined || /^(Unknown(Error)?|\d+|NotFound|Error|S3ServiceException)$/.test(name) ? "" : name;
  return {
    status,
    headers,
    body: "",
    code,
    message: code === "" ? "" : (message ?? ""),
    region: Region ?? header(headers, "x-amz-bucket-region"),
  };
}

/** True where new credentials may help. HEAD says only 400 for an expired token. */
export function isExpired({ code, status }: S3Failure): boolean {
  return EXPIRED.has(code) || (code === "" && status === 400);
}

/** True where the server's clock is too far from ours for signatures. HEAD says only 403, and its Date. S3 allows 15 minutes, others 5. */
export function isSkewed({ code, status, headers }: S3Failure): boolean {
  if (code !== "") return code === "RequestTimeTooSkewed";
  return status === 403 && Math.abs(Date.parse(header(headers, "date") ?? "") - Date.now()) > 5 * 60_000;
}

/** The MillraceError of an answer. */
export function s3Error(failure: S3Failure, subject: Subject): MillraceError {
  const { code, status, message, region } = failure;
  const { uri, range } = subject;
  const said = message === "" ? code : `${code}: ${message.slice(0, MESSAGE_CHARACTERS)}`;
  const make = (kind: MillraceError["code"], text: string) =>
    new MillraceError(kind, `${uri}: ${text} (HTTP ${status} ${said})`, { uri, range });
  if (code === "NoSuchBucket") return make("MILLRACE_NOT_FOUND", "no such bucket; check its name, the endpoint and the region");
  if (code === "NoSuchKey" || (code === "" && status === 404)) return make("MILLRACE_NOT_FOUND", "the bucket has no such key");
  if (EXPIRED.has(code)) return make("MILLRACE_PERMISSION", "the credentials have expired; renew them");
  if (isSkewed(failure)) return make("MILLRACE_PERMISSION", "this machine's clock is wrong; set it");
  if (code === "InvalidObjectState") return make("MILLRACE_PERMISSION", "the object is archived; restore it first");
  if (code === "NotImplemented" || status === 501) return make("MILLRACE_CONFIG", "the server does not know this request");
  const passing = PASSING.get(code);
  if (passing !== undefined) return statusError({ ...failure, status: passing }, subject, said);
  if (ELSEWHERE.has(code) || (status >= 300 && status < 400))
    return make(
      "MILLRACE_CONFIG",
      region === undefined
        ? "the bucket is in another region; set s3.region"
        : `the bucket is in another region: set s3.region to "${region}"`,
    );
  if (status === 403)
    return make("MILLRACE_PERMISSION", "access denied; S3 says so too where the key is missing and you may not list the bucket");
  return statusError(failure, subject, said);
}

/** The MillraceError of whatever the SDK threw. */
export function sdkError(error: unknown, subject: Subject): MillraceError {
  const failure = failureOfSdk(error);
  return failure === undefined ? networkError(error, subject) : s3Error(failure, subject);
}

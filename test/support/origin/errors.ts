/** S3's error answers: code → status and message. */
const CODES: Readonly<Record<string, readonly [number, string]>> = {
  AccessDenied: [403, "Access Denied"],
  AuthorizationHeaderMalformed: [400, "The authorization header is malformed"],
  AuthorizationQueryParametersError: [400, "Error parsing the query parameters of the signature"],
  BadDigest: [400, "The checksum you specified did not match what we received"],
  BucketAlreadyOwnedByYou: [409, "Your previous request to create the named bucket succeeded and you already own it"],
  BucketNotEmpty: [409, "The bucket you tried to delete is not empty"],
  EntityTooSmall: [400, "Your proposed upload is smaller than the minimum allowed size"],
  ExpiredToken: [400, "The provided token has expired"],
  IncompleteBody: [400, "You did not provide the number of bytes specified by the Content-Length HTTP header"],
  InternalError: [500, "We encountered an internal error. Please try again"],
  InvalidAccessKeyId: [403, "The AWS Access Key Id you provided does not exist in our records"],
  InvalidArgument: [400, "Invalid Argument"],
  InvalidPart: [400, "One or more of the specified parts could not be found"],
  InvalidPartOrder: [400, "The list of parts was not in ascending order"],
  InvalidRange: [416, "The requested range is not satisfiable"],
  InvalidToken: [400, "The provided token is malformed or otherwise invalid"],
  MalformedXML: [400, "The XML you provided was not well-formed"],
  MethodNotAllowed: [405, "The specified method is not allowed against this resource"],
  NoSuchBucket: [404, "The specified bucket does not exist"],
  NoSuchKey: [404, "The specified key does not exist"],
  NoSuchUpload: [404, "The specified upload does not exist"],
  NotImplemented: [501, "A header or query you provided implies functionality that is not implemented"],
  PreconditionFailed: [412, "At least one of the pre-conditions you specified did not hold"],
  RequestTimeTooSkewed: [403, "The difference between the request time and the server's time is too large"],
  RequestTimeout: [400, "Your socket connection to the server was not read from or written to within the timeout period"],
  ServiceUnavailable: [503, "Service is unable to handle request"],
  SignatureDoesNotMatch: [403, "The request signature we calculated does not match the signature you provided"],
  SlowDown: [503, "Please reduce your request rate"],
  TooManyRequests: [429, "Please reduce your request rate"],
  XAmzContentSHA256Mismatch: [400, "The provided 'x-amz-content-sha256' header does not match what was computed"],
};
const BY_STATUS: Readonly<Record<number, string>> = {
  400: "InvalidArgument",
  403: "AccessDenied",
  404: "NoSuchKey",
  412: "PreconditionFailed",
  416: "InvalidRange",
  429: "TooManyRequests",
  500: "InternalError",
  503: "SlowDown",
};

/** An answer other than 2xx, as S3 words it. */
export class S3Error extends Error {
  readonly code: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: string, message?: string, headers: Readonly<Record<string, string>> = {}) {
    const [status, text] = CODES[code] ?? [500, code];
    super(message ?? text);
    this.code = code;
    this.status = status;
    this.headers = headers;
  }
}

/** The answer for an injected fault: by S3 code, or by status (one that S3 has no code for keeps its number). */
export function injectedError(fault: number | string, retryAfterSeconds: number | undefined): { status: number; error: S3Error } {
  const error = new S3Error(typeof fault === "number" ? (BY_STATUS[fault] ?? "InternalError") : fault, undefined, {
    ...(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }),
  });
  return { status: typeof fault === "number" ? fault : error.status, error };
}

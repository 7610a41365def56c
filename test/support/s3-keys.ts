import type { S3Credentials } from "../../src/api.js";
import type { OriginCredentials } from "./origin/index.js";

/** The origin's credentials as the s3 options take them. */
export function keys({ credentials }: { readonly credentials: OriginCredentials }): S3Credentials {
  const { expiration, ...rest } = credentials;
  return { ...rest, expiration: expiration === undefined ? undefined : new Date(expiration) };
}

import type { S3Options } from "../../src/api.js";
import type { OriginInfo } from "./origin/index.js";
import { keys } from "./s3-keys.js";

/** The `s3` options that reach this origin. */
export function s3Options(origin: OriginInfo): S3Options {
  return { endpoint: origin.endpoint, region: origin.region, forcePathStyle: true, credentials: keys(origin) };
}

/** Text and JSON, by the whole bytes of a field. */
import { decodeError } from "./decode-error.js";

const STRICT = new TextDecoder("utf-8", { fatal: true });

/** The text that `bytes` are in UTF-8, without a byte order mark. Throws MILLRACE_DECODE where they are not UTF-8. */
export function utf8(bytes: Uint8Array): string {
  try {
    return STRICT.decode(bytes);
  } catch (cause) {
    throw decodeError("The text cannot be decoded: it is not UTF-8", cause);
  }
}

/** The value that `bytes`, JSON in UTF-8, stand for. Throws MILLRACE_DECODE. */
export function json(bytes: Uint8Array): unknown {
  const text = utf8(bytes);
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw decodeError(`The JSON cannot be decoded: ${(cause as Error).message}`, cause);
  }
}

import type { S3Credentials } from "../api.js";
import { MillraceError } from "../errors.js";

/** A request signed just before expiry must still be valid when it is retried or its body is resumed. */
const REFRESH_BEFORE_MS = 5 * 60_000;

/**
 * The credentials in use. Asked for anew 5 minutes before they expire (at half of their time where they live less than 10 minutes), once however
 * many wait; while the old ones are still valid, a failure to get new ones goes unnoticed.
 */
export class CredentialCache {
  readonly #provider: () => Promise<S3Credentials>;
  #current: S3Credentials | undefined;
  #refreshAt = 0;
  #pending: Promise<S3Credentials> | undefined;

  constructor(provider: () => Promise<S3Credentials>) {
    this.#provider = provider;
  }

  /** Throws MILLRACE_CONFIG where there are none, MILLRACE_UNAVAILABLE where there were some but new ones cannot be had. */
  async get(): Promise<S3Credentials> {
    const current = this.#current;
    if (current !== undefined && Date.now() < this.#refreshAt) return current;
    try {
      this.#pending ??= this.#ask();
      return await this.#pending;
    } catch (error) {
      if (current?.expiration !== undefined && Date.now() < current.expiration.getTime() && this.#current === current) return current;
      throw error;
    }
  }

  /** The origin has refused these as expired: gets others, unless that has happened already. */
  async replace(refused: S3Credentials): Promise<void> {
    if (this.#current === refused) this.#refreshAt = 0;
    await this.get();
  }

  async #ask(): Promise<S3Credentials> {
    try {
      const fresh = await this.#provider();
      if (!fresh?.accessKeyId || !fresh.secretAccessKey) throw new TypeError("expected { accessKeyId, secretAccessKey }");
      const leftMs = fresh.expiration === undefined ? Number.POSITIVE_INFINITY : fresh.expiration.getTime() - Date.now();
      this.#refreshAt = Date.now() + Math.max(leftMs - REFRESH_BEFORE_MS, leftMs / 2);
      this.#current = fresh;
      return fresh;
    } catch (error) {
      if (error instanceof MillraceError) throw error;
      const code = this.#current === undefined ? "MILLRACE_CONFIG" : "MILLRACE_UNAVAILABLE";
      const hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, s3.credentials, or s3.anonymous for public buckets";
      throw new MillraceError(code, `s3: no credentials (${(error as Error).message}); ${hint}`, { cause: error });
    } finally {
      this.#pending = undefined;
    }
  }
}

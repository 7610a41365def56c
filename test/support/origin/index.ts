/**
 * An S3-compatible origin in a process of its own, for tests, the demo and the benches. It is no substitute for a run
 * against a real server: it speaks the part of S3 that Millrace uses, and can be made slow, narrow and faulty at will.
 *
 *   const origin = await startOrigin({ shape: { firstByteMs: 30, connectionBytesPerSecond: 90e6 } });
 *   await origin.put("bucket", "a/b.bin", bytes);          // endpoint: origin.endpoint, keys: origin.credentials
 *   (await origin.stats()).requests; await origin.close();
 */
import type { Socket } from "node:net";
import { startScript } from "../script-process.js";
import { connectOrigin, type OriginClient } from "./client.js";
import type { OriginInfo, OriginOptions } from "./types.js";

export { connectOrigin, type OriginClient } from "./client.js";
export type * from "./types.js";

export interface Origin extends OriginClient {
  readonly pid: number;
  /** Ends the process; resolves when it has ended. Idempotent. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The origin's process must be ready by then, milliseconds: it takes 0.4 s on an idle machine. */
const START_LIMIT_MS = 30_000;

/** Starts an origin. It ends with `close()`, or when this process does; it does not keep this process alive. */
export async function startOrigin(options: OriginOptions = {}): Promise<Origin> {
  const main = new URL("./main.ts", import.meta.url);
  const child = startScript(main, ["--json", JSON.stringify(options)], { stdio: ["pipe", "pipe", "inherit"] });
  const stdout = child.stdout!;
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  const line = await new Promise<string>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      reject(new Error("the origin did not start in time"));
    }, START_LIMIT_MS);
    let text = "";
    stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes("\n")) resolve(text);
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the origin ended with code ${code} before it was ready`)));
    void ended.finally(() => clearTimeout(timer));
    stdout.once("data", () => clearTimeout(timer));
  });
  child.unref();
  (child.stdin as unknown as Socket).unref();
  (stdout as unknown as Socket).unref();
  const close = async (): Promise<void> => {
    child.ref();
    child.kill("SIGKILL");
    await ended;
  };
  return { ...connectOrigin(JSON.parse(line) as OriginInfo), pid: child.pid!, close, [Symbol.asyncDispose]: close };
}

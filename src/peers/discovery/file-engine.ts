import { type FSWatcher, watch } from "node:fs";
import { open } from "node:fs/promises";
import { dirname } from "node:path";
import { MillraceError } from "../../errors.js";
import type { FileSpec } from "./discover-spec.js";
import type { Engine, Finding } from "./engine.js";
import type { FoundPeer } from "./found-peer.js";
import { parseMembersFile } from "./member-record.js";

/** Milliseconds between looks without an event: NFS gives none, nor does a file system whose watches are used up. */
const POLL_MS = 5_000;
/** Bytes: 4,096 members with labels take 2 MB. */
const MAX_BYTES = 16 * 2 ** 20;

/** Peers listed in a JSON file that something else keeps: a ConfigMap, a job's prolog. */
export class FileEngine implements Engine {
  readonly name: string;
  readonly #path: string;
  #reading: Promise<string> | undefined;
  #last: { readonly text: string; readonly peers: readonly FoundPeer[] } | undefined;

  constructor(spec: FileSpec) {
    this.#path = spec.path;
    this.name = `file:${spec.path}`;
  }

  async find(): Promise<Finding> {
    // A read from a dead NFS server cannot be ended: one at most waits, or such reads would fill Node's thread pool.
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined;
    });
    const text = await this.#reading;
    // The text, and not the time of change: two changes may fall into one tick of it, and ConfigMaps are swapped with the folder.
    if (text !== this.#last?.text) this.#last = { text, peers: this.#parse(text) };
    return { peers: this.#last.peers, againMs: POLL_MS };
  }

  /** Watches the folder: ConfigMaps and editors put another file in the place of this one. */
  watch(changed: () => void): () => void {
    let watcher: FSWatcher | undefined;
    try {
      watcher = watch(dirname(this.#path), { persistent: false }, changed);
      // Polling goes on.
      watcher.on("error", () => watcher?.close());
    } catch {
      // No such folder yet, or no watches left: it is polled.
    }
    return () => watcher?.close();
  }

  async #read(): Promise<string> {
    try {
      const file = await open(this.#path, "r");
      try {
        const { size } = await file.stat();
        if (size > MAX_BYTES) throw new Error(`${size} bytes are more than a list of peers has`);
        return await file.readFile("utf8");
      } finally {
        await file.close();
      }
    } catch (cause) {
      throw new MillraceError("MILLRACE_UNAVAILABLE", `${this.name}: cannot be read: ${(cause as Error).message}`, { cause });
    }
  }

  #parse(text: string): FoundPeer[] {
    const peers = parseMembersFile(text);
    if (typeof peers !== "string") return peers;
    throw new MillraceError("MILLRACE_FORMAT", `${this.name}: expected ["host:port", { "url": "http://host:port", "id": … }, …]: ${peers}`);
  }
}

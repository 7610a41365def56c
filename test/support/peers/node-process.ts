/** A process of a node, under a test's control. */
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { MillStats } from "../../../src/api.js";
import type { MillraceOptions } from "../../../src/index.js";
import { type Deferred, deferred } from "../../../src/util/deferred.js";
import { startScript } from "../script-process.js";

const SCRIPT = new URL("../../integration/peers/fixtures/node-process.ts", import.meta.url);

export class NodeProcess {
  /** Resolves when it has the first batch of an epoch. */
  readonly begun: Deferred<void> = deferred<void>();
  readonly #child: ChildProcess;
  /** Who waits for the next answers, in order. */
  readonly #waiting: Deferred<unknown>[] = [];

  /** Resolves when its mill is open. */
  static async start(options: MillraceOptions): Promise<NodeProcess> {
    const node = new NodeProcess(options);
    await node.#answer();
    return node;
  }

  private constructor(options: MillraceOptions) {
    this.#child = startScript(SCRIPT, [JSON.stringify(options)], { stdio: ["pipe", "pipe", "inherit"] });
    createInterface({ input: this.#child.stdout! }).on("line", (line) => {
      const value: unknown = JSON.parse(line);
      if (value === "begun") this.begun.resolve();
      else this.#waiting.shift()?.resolve(value);
    });
    this.#child.stdin!.on("error", () => {}); // It was killed.
    this.#child.once("exit", () => {
      for (const one of this.#waiting.splice(0)) one.reject(new Error("the process has ended"));
    });
  }

  /** Hashes of the samples of an epoch. */
  epoch(number: number, rank = 0, worldSize = 1): Promise<string[]> {
    return this.#ask(`epoch ${number} ${rank} ${worldSize}`) as Promise<string[]>;
  }

  stats(): Promise<MillStats> {
    return this.#ask("stats") as Promise<MillStats>;
  }

  signal(signal: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  /** Closes its mill and waits for its end; nothing where it has ended. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exited = once(this.#child, "exit");
    this.signal("SIGCONT"); // A test that failed may have left it stopped.
    await this.#ask("close").catch(() => {});
    await exited;
  }

  #ask(line: string): Promise<unknown> {
    this.#child.stdin!.write(`${line}\n`);
    return this.#answer();
  }

  #answer(): Promise<unknown> {
    const answer = deferred<unknown>();
    answer.promise.catch(() => {});
    this.#waiting.push(answer);
    return answer.promise;
  }
}

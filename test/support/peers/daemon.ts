/** A server of its own package, in the foreground on loopback, ended with the tests, or the bench. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { deferred } from "../../../src/util/deferred.js";

const START_LIMIT_MS = 10_000;
const STOP_LIMIT_MS = 5_000;

export class Daemon {
  readonly #process: ChildProcess;
  readonly #waits: { readonly line: RegExp; readonly seen: () => void }[] = [];
  /** What it has printed. */
  output = "";

  /** `orphaned`: what the kernel sends it if this process dies without ending it; TERM where it has processes of its own to end. */
  constructor(command: string, parameters: readonly string[], orphaned: "KILL" | "TERM" = "KILL") {
    this.#process = spawn("setpriv", ["--pdeathsig", orphaned, command, ...parameters], { stdio: ["ignore", "pipe", "pipe"] });
    for (const stream of [this.#process.stdout!, this.#process.stderr!])
      stream.setEncoding("utf8").on("data", (text) => this.#printed(text));
  }

  /** Resolves when it has printed `ready`; throws with what it printed where it ends before. */
  static async start(command: string, parameters: readonly string[], ready: RegExp): Promise<Daemon> {
    const daemon = new Daemon(command, parameters);
    const ended = once(daemon.#process, "exit").then(() => {
      throw new Error(`${command} did not start:\n${daemon.output.slice(-2000)}`);
    });
    ended.catch(() => {});
    await Promise.race([daemon.printed(ready), ended]);
    return daemon;
  }

  /** Resolves when it prints such a line from now on. */
  async printed(line: RegExp): Promise<void> {
    const { promise, resolve, reject } = deferred<void>();
    this.#waits.push({ line, seen: resolve });
    const timer = setTimeout(() => reject(new Error(`waited in vain for ${line}:\n${this.output.slice(-2000)}`)), START_LIMIT_MS);
    await promise.finally(() => clearTimeout(timer));
  }

  signal(name: NodeJS.Signals): void {
    this.#process.kill(name);
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** Kills it where it has not ended on the signal in time. Idempotent. */
  async stop(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    if (this.hasEnded) return;
    const ended = once(this.#process, "exit");
    this.#process.kill(signal);
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), STOP_LIMIT_MS);
    await ended;
    clearTimeout(timer);
  }

  #printed(text: string): void {
    this.output += text;
    for (const wait of [...this.#waits])
      if (wait.line.test(text)) {
        this.#waits.splice(this.#waits.indexOf(wait), 1);
        wait.seen();
      }
  }
}

/** A port of 127.0.0.1 that nothing listens on, by TCP. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

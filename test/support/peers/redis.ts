import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installCommand } from "../debian-packages.js";
import { selfSigned } from "../origin/certificate.js";
import { Daemon, freePort } from "./daemon.js";

/** Debian's redis-server with nothing on disk, so that a restart forgets all. */
export class TestRedis {
  readonly port: number;
  readonly #folder: string;
  readonly #parameters: readonly string[];
  #daemon: Daemon | undefined;

  private constructor(port: number, folder: string, parameters: readonly string[]) {
    this.port = port;
    this.#folder = folder;
    this.#parameters = parameters;
  }

  /** `tls`: only TLS, with a certificate that signs itself, at `caFile`. */
  static async start({ password, tls = false }: { password?: string; tls?: boolean } = {}): Promise<TestRedis> {
    installCommand("redis-server", "redis-server");
    const folder = await mkdtemp(join(tmpdir(), "millrace-redis-"));
    const port = await freePort();
    const { key, cert } = tls ? selfSigned() : { key: "", cert: "" };
    await writeFile(join(folder, "key.pem"), key);
    await writeFile(join(folder, "cert.pem"), cert);
    const files = ["--tls-key-file", join(folder, "key.pem"), "--tls-cert-file", join(folder, "cert.pem")];
    const ports = tls ? ["--port", "0", "--tls-port", `${port}`, ...files, "--tls-auth-clients", "no"] : ["--port", `${port}`];
    const login = password === undefined ? [] : ["--requirepass", password];
    const redis = new TestRedis(port, folder, [...ports, ...login, "--bind", "127.0.0.1", "--save", "", "--dir", folder]);
    await redis.restart();
    return redis;
  }

  get caFile(): string {
    return join(this.#folder, "cert.pem");
  }

  /** Starts it again, on the same port and empty. */
  async restart(): Promise<void> {
    await this.stop();
    this.#daemon = await Daemon.start("redis-server", this.#parameters, /Ready to accept connections/);
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
  }

  /** Frozen, it takes connections, and answers nothing. */
  freeze(): void {
    this.#daemon!.signal("SIGSTOP");
  }

  thaw(): void {
    this.#daemon!.signal("SIGCONT");
  }

  async close(): Promise<void> {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

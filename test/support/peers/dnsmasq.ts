import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { installCommand } from "../debian-packages.js";
import { Daemon, freePort } from "./daemon.js";

export interface DnsRecords {
  /** Lines of a hosts file: `10.0.0.1 node-a.test`. */
  readonly hosts: readonly string[];
  /** `_service._tcp.test,target,port`. */
  readonly srv?: readonly string[];
  /** Of all records, in seconds. Default: 0. */
  readonly ttl?: number;
}

/** Debian's dnsmasq, which alone answers for names below `test`. */
export class TestDns {
  readonly port: number;
  readonly #folder: string;
  #daemon: Daemon | undefined;

  private constructor(port: number, folder: string) {
    this.port = port;
    this.#folder = folder;
  }

  static async start(records: DnsRecords): Promise<TestDns> {
    installCommand("dnsmasq", "dnsmasq-base");
    const dns = new TestDns(await freePort(), await mkdtemp(join(tmpdir(), "millrace-dns-")));
    await dns.restart(records);
    return dns;
  }

  /** For `?server=`. */
  get server(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Reads other hosts without a restart; records of services and the TTL stay. */
  async reload(hosts: readonly string[]): Promise<void> {
    await this.#writeHosts(hosts);
    const read = this.#daemon!.printed(/read .*hosts/);
    this.#daemon!.signal("SIGHUP");
    await read;
  }

  /** Starts it again on the same port, with other records. */
  async restart({ hosts, srv = [], ttl = 0 }: DnsRecords): Promise<void> {
    await this.stop();
    await this.#writeHosts(hosts);
    const parameters = [
      ...["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=", "--local=/test/"],
      ...["--listen-address=127.0.0.1", "--bind-interfaces", `--port=${this.port}`, `--local-ttl=${ttl}`, "--user=", "--group="],
      ...[`--addn-hosts=${join(this.#folder, "hosts")}`, ...srv.map((record) => `--srv-host=${record}`)],
    ];
    this.#daemon = await Daemon.start("dnsmasq", parameters, /read .*hosts/);
  }

  async stop(): Promise<void> {
    await this.#daemon?.stop();
  }

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

  #writeHosts(hosts: readonly string[]): Promise<void> {
    return writeFile(join(this.#folder, "hosts"), hosts.map((line) => `${line}\n`).join(""), { mode: 0o644 });
  }
}

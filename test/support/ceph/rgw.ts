/**
 * A real S3 server for tests: a Ceph cluster of four processes (monitor, manager, OSD, gateway) on loopback, without
 * systemd and with nothing outside one scratch directory.
 */
import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { installCommands } from "../debian-packages.js";
import { Daemon, freePort } from "../peers/daemon.js";
import { cephConf } from "./conf.js";

const run = promisify(execFile);

export interface RgwInfo {
  readonly endpoint: string;
  readonly region: string;
  readonly credentials: { readonly accessKeyId: string; readonly secretAccessKey: string };
}
export interface Rgw extends RgwInfo {
  /** Ends the four processes and removes their directory. Idempotent. */
  stop(): Promise<void>;
}

const PACKAGES = ["radosgw", "ceph-mon", "ceph-osd", "ceph-mgr", "ceph-common"];
const COMMANDS = ["radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph-mgr", "ceph", "ceph-authtool", "monmaptool"];
const CREDENTIALS = { accessKeyId: "millrace-test-key", secretAccessKey: "millrace-test-secret" };
/** The whole start takes 4 s on two idle cores; each wait inside it may take this long, milliseconds. */
const WAIT_LIMIT_MS = 60_000;
const MEMORY_BYTES = 4 * 2 ** 30;

class Cluster {
  readonly #directory: string;
  readonly #conf: string;
  readonly #fsid: string;
  readonly #daemons: Daemon[] = [];
  readonly #monPort: number;
  readonly rgwPort: number;

  constructor(directory: string, fsid: string, monPort: number, rgwPort: number) {
    this.#directory = directory;
    this.#fsid = fsid;
    this.#monPort = monPort;
    this.rgwPort = rgwPort;
    this.#conf = join(directory, "ceph.conf");
  }

  async start(): Promise<void> {
    const { rgwPort } = this;
    const conf = cephConf({ directory: this.#directory, fsid: this.#fsid, monPort: this.#monPort, rgwPort, memoryBytes: MEMORY_BYTES });
    await writeFile(this.#conf, conf);
    for (const name of ["mon", "mgr", "osd", "rgw"]) await mkdir(join(this.#directory, name));
    await this.#startMonitor();
    await Promise.all([
      this.#startManager(),
      this.#startOsd(),
      this.#keyring("client.rgw", "rgw", ["mon", "allow rwx", "osd", "allow rwx", "mgr", "allow rw"]),
    ]);
    await this.#createUser();
    const gateway = this.#spawn("radosgw", ["-n", "client.rgw"]);
    await this.#until("the gateway to answer", gateway, async () => (await fetch(`http://127.0.0.1:${rgwPort}/`)).status < 500);
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#daemons].reverse().map((daemon) => daemon.stop("SIGTERM")));
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #startMonitor(): Promise<void> {
    const keyring = join(this.#directory, "keyring");
    const monmap = join(this.#directory, "monmap");
    await this.#run("ceph-authtool", ["--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"]);
    const admin = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"];
    await this.#run("ceph-authtool", [keyring, "--gen-key", "-n", "client.admin", ...admin]);
    await this.#run("monmaptool", ["--create", "--fsid", this.#fsid, "--addv", "a", `[v2:127.0.0.1:${this.#monPort}]`, monmap]);
    await this.#run("ceph-mon", ["--mkfs", "-i", "a", "--monmap", monmap, "--keyring", keyring]);
    this.#spawn("ceph-mon", ["-i", "a"]);
  }

  async #startManager(): Promise<void> {
    await this.#keyring("mgr.x", "mgr", ["mon", "allow *", "osd", "allow *", "mds", "allow *"]);
    this.#spawn("ceph-mgr", ["-i", "x"]);
  }

  async #startOsd(): Promise<void> {
    const uuid = randomUUID();
    const secret = (await this.#run("ceph-authtool", ["--gen-print-key"])).trim();
    const secrets = join(this.#directory, "osd-secrets.json");
    await writeFile(secrets, JSON.stringify({ cephx_secret: secret }));
    const id = (await this.#run("ceph", ["osd", "new", uuid, "-i", secrets])).trim();
    await this.#run("ceph-authtool", [
      "--create-keyring",
      join(this.#directory, "osd/keyring"),
      "--name",
      `osd.${id}`,
      "--add-key",
      secret,
    ]);
    await this.#run("ceph-osd", ["-i", id, "--mkfs", "--osd-uuid", uuid]);
    const osd = this.#spawn("ceph-osd", ["-i", id]);
    await this.#until("the OSD to be up", osd, async () => (await this.#run("ceph", ["osd", "stat"])).includes("1 up"));
  }

  async #keyring(entity: string, folder: string, capabilities: readonly string[]): Promise<void> {
    await this.#run("ceph", ["auth", "get-or-create", entity, ...capabilities, "-o", join(this.#directory, folder, "keyring")]);
  }

  async #createUser(): Promise<void> {
    const keys = [`--access-key=${CREDENTIALS.accessKeyId}`, `--secret-key=${CREDENTIALS.secretAccessKey}`];
    await this.#run("radosgw-admin", [
      "-n",
      "client.rgw",
      "user",
      "create",
      "--uid=test",
      "--display-name=test",
      "--max-buckets=0",
      ...keys,
    ]);
  }

  async #run(command: string, parameters: readonly string[]): Promise<string> {
    const { stdout } = await run(command, ["-c", this.#conf, ...parameters], { timeout: WAIT_LIMIT_MS });
    return stdout;
  }

  #spawn(command: string, parameters: readonly string[]): Daemon {
    const daemon = new Daemon(command, ["-c", this.#conf, "-f", ...parameters]);
    this.#daemons.push(daemon);
    return daemon;
  }

  async #until(what: string, daemon: Daemon, ready: () => Promise<boolean>): Promise<void> {
    const limit = Date.now() + WAIT_LIMIT_MS;
    while (!(await ready().catch(() => false))) {
      if (daemon.hasEnded || Date.now() > limit) throw new Error(`Ceph: waited in vain for ${what}:\n${daemon.output.slice(-2000)}`);
      await sleep(50);
    }
  }
}

/** Installs what is missing, starts a cluster with an empty store, and makes its user. */
export async function startRgw(): Promise<Rgw> {
  installCommands(COMMANDS, PACKAGES);
  const directory = await mkdtemp(join(tmpdir(), "millrace-ceph-"));
  const cluster = new Cluster(directory, randomUUID(), await freePort(), await freePort());
  try {
    await cluster.start();
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return { endpoint: `http://127.0.0.1:${cluster.rgwPort}`, region: "us-east-1", credentials: CREDENTIALS, stop: () => cluster.stop() };
}

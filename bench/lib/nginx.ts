/** nginx on loopback, as a web server for the benches: its own package, one configuration, ended with the bench. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { installCommand } from "../../test/support/debian-packages.js";
import { selfSigned } from "../../test/support/origin/certificate.js";
import { Daemon, freePort } from "../../test/support/peers/daemon.js";

const COMMAND = "nginx";
const PACKAGE = "nginx-light";
const START_LIMIT_MS = 10_000;
/** Another process may take a port between its choice and nginx's start. */
const PORT_TRIES = 3;

export interface Nginx {
  /** `http://127.0.0.1:port`, or https. */
  readonly endpoint: string;
  /** For `requestsSoFar`: plain HTTP on a port of its own, in either case. */
  readonly statusUrl: string;
  /** File of the self-signed certificate, for NODE_EXTRA_CA_CERTS; undefined without TLS. */
  readonly caFile: string | undefined;
  /** Ends it. Idempotent. */
  close(): Promise<void>;
}

/** Serves the files below `root`. Installs the package where nginx is missing, and throws where that fails. */
export async function startNginx(root: string, { tls = false }: { readonly tls?: boolean } = {}): Promise<Nginx> {
  installCommand(COMMAND, PACKAGE);
  const folder = await mkdtemp(join(tmpdir(), "millrace-nginx-"));
  try {
    const caFile = tls ? await writeCertificate(folder) : undefined;
    for (let tries = 1; ; tries++) {
      const [port, statusPort] = [await freePort(), await freePort()];
      await writeFile(join(folder, "nginx.conf"), configuration(folder, root, port, statusPort, tls));
      const server = startServer(folder);
      const statusUrl = `http://127.0.0.1:${statusPort}/status`;
      if (await answers(server, statusUrl))
        return handle(server, folder, `${tls ? "https" : "http"}://127.0.0.1:${port}`, statusUrl, caFile);
      await server.stop("SIGTERM");
      if (tries === PORT_TRIES) throw new Error(`nginx does not start:\n${server.output.slice(-2000)}`);
    }
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

/** Requests that nginx has taken since it started, this one included: its own count, on stub_status. */
export async function requestsSoFar(statusUrl: string): Promise<number> {
  const text = await new Promise<string>((resolve, reject) => {
    get(statusUrl, { agent: false }, (response) => {
      let body = "";
      response.setEncoding("latin1").on("data", (chunk: string) => {
        body += chunk;
      });
      response.on("end", () => resolve(body)).on("error", reject);
    }).on("error", reject);
  });
  const [, requests] = /^\s*\d+ \d+ (\d+)\s*$/m.exec(text) ?? [];
  if (requests === undefined) throw new Error(`nginx's status page is not understood: ${text}`);
  return Number(requests);
}

async function writeCertificate(folder: string): Promise<string> {
  const { key, cert } = selfSigned();
  await writeFile(join(folder, "key.pem"), key);
  await writeFile(join(folder, "cert.pem"), cert);
  return join(folder, "cert.pem");
}

/** tcp_nopush stays off: on, a response's last piece waits 44 ms on loopback. */
function configuration(folder: string, root: string, port: number, statusPort: number, tls: boolean): string {
  const paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) => `${name}_temp_path ${folder}/${name};`).join(" ");
  const certificate = tls ? `ssl_certificate ${folder}/cert.pem; ssl_certificate_key ${folder}/key.pem;` : "";
  return `${process.getuid?.() === 0 ? "user root;" : ""}
daemon off; pid ${folder}/nginx.pid; error_log stderr crit; worker_processes auto;
events { worker_connections 1024; }
http {
  ${paths}
  access_log off; sendfile on; tcp_nopush off; keepalive_timeout 65s; keepalive_requests 1000000; etag on;
  default_type application/octet-stream;
  server { listen 127.0.0.1:${port}${tls ? " ssl" : ""}; root ${root}; ${certificate} }
  server { listen 127.0.0.1:${statusPort}; location = /status { stub_status; } }
}
`;
}

/** Its workers end with it. */
function startServer(folder: string): Daemon {
  return new Daemon(COMMAND, ["-e", "stderr", "-p", folder, "-c", join(folder, "nginx.conf")], "TERM");
}

async function answers(server: Daemon, statusUrl: string): Promise<boolean> {
  for (const limit = performance.now() + START_LIMIT_MS; performance.now() < limit; await sleep(20)) {
    if (server.hasEnded) return false;
    if (await requestsSoFar(statusUrl).catch(() => undefined)) return true;
  }
  return false;
}

function handle(server: Daemon, folder: string, endpoint: string, statusUrl: string, caFile: string | undefined): Nginx {
  const close = async (): Promise<void> => {
    await server.stop("SIGTERM");
    await rm(folder, { recursive: true, force: true });
  };
  return { endpoint, statusUrl, caFile, close };
}

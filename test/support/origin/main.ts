/**
 * The origin's process: an S3-compatible server on loopback. Prints one line of JSON (OriginInfo) when it is ready and ends
 * when its standard input does, so that it never outlives who started it.
 *
 *   node --import tsx test/support/origin/main.ts [--json '{"shape":{"firstByteMs":30}}'] [--root dir] [--port 9000]
 */
import { createServer, type Server } from "node:http";
import { createServer as createTlsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { parseArgs } from "node:util";
import { selfSigned } from "./certificate.js";
import { Control } from "./control.js";
import { OriginServer } from "./server.js";
import type { OriginInfo, OriginOptions } from "./types.js";

const CREDENTIALS = { accessKeyId: "origin-access-key", secretAccessKey: "origin-secret-key" };
const TOKEN_LIFE_MS = 3_600_000;

function listen(server: Server, port: number): Promise<number> {
  // A client that keeps its sockets must not find them closed under it in a slow test.
  server.keepAliveTimeout = 120_000;
  server.requestTimeout = 0;
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve((server.address() as AddressInfo).port));
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { json: { type: "string" }, root: { type: "string" }, port: { type: "string" } } });
  const options = JSON.parse(values.json ?? "{}") as OriginOptions;
  if (values.root !== undefined) options.root = values.root;
  const origin = new OriginServer(options);
  origin.verifier.add({ ...CREDENTIALS, expiresAt: Infinity });
  const handle = origin.handle.bind(origin);
  const certificate = options.tls ? selfSigned() : undefined;
  const server =
    certificate === undefined ? createServer({ noDelay: true }, handle) : createTlsServer({ ...certificate, noDelay: true }, handle);
  const control = new Control(origin, options.expireTokensAfter ?? TOKEN_LIFE_MS);
  const port = await listen(server, Number(values.port ?? options.port ?? 0));
  const controlPort = await listen(createServer(control.handle.bind(control)), 0);
  const info: OriginInfo = {
    endpoint: `${certificate === undefined ? "http" : "https"}://127.0.0.1:${port}`,
    controlUrl: `http://127.0.0.1:${controlPort}`,
    credentials: CREDENTIALS,
    region: options.region ?? "us-east-1",
    ca: certificate?.cert,
  };
  process.stdout.write(`${JSON.stringify(info)}\n`);
  process.stdin.on("end", () => process.exit(0)).resume();
}

await main();

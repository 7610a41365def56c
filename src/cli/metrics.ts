/** The figures of `mill.stats()` for Prometheus, on an address of their own: they need no secret, and the peers' listener has one. */
import { once } from "node:events";
import { createServer } from "node:http";
import type { MillStats } from "../index.js";
import { UsageError } from "./usage.js";

/** Prometheus' text format, version 0.0.4: `millrace_origin_in_flight 3`. Figures that are text are left out. */
export function metricsText(stats: MillStats): string {
  const lines = Object.entries(stats).flatMap(([group, figures]) =>
    Object.entries(figures)
      .filter(([, value]) => typeof value === "number")
      .map(([name, value]) => `millrace_${group}_${name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)} ${value}\n`),
  );
  return lines.join("");
}

/** Answers `GET /metrics` at `host:port` or `:port`; resolves to what ends it. Throws UsageError where the address is none, or taken. */
export async function serveMetrics(listen: string, stats: () => MillStats): Promise<() => Promise<void>> {
  const [, host, port] = /^(?:\[?([^\]]*?)\]?):(\d{1,5})$/.exec(listen) ?? [];
  if (!(Number(port) <= 65_535)) throw new UsageError(`--metrics: expected host:port or :port, got ${listen}`);
  const server = createServer((request, response) => {
    if (request.url !== "/metrics" || request.method !== "GET") response.writeHead(404).end();
    else response.writeHead(200, { "content-type": "text/plain; version=0.0.4" }).end(metricsText(stats()));
  });
  server.listen({ port: Number(port), ...(host && { host }) });
  try {
    await once(server, "listening");
  } catch (error) {
    throw new UsageError(`--metrics: cannot listen at ${listen} (${(error as Error).message})`);
  }
  return async () => {
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  };
}

import { setTimeout as after } from "node:timers/promises";
import { openMillrace } from "../index.js";
import type { Command } from "./command.js";
import { consoleLogger } from "./log.js";
import { serveMetrics } from "./metrics.js";
import { UsageError } from "./usage.js";

/** How often the engine is asked whether it lives, milliseconds. It is a timer too, which keeps the process alive. */
const CHECK_EVERY_MS = 5_000;

export const serve: Command = {
  summary: "hold and serve a cache until SIGTERM or SIGINT",
  parameters: "",
  help: [
    "Listens at peers.listen for the other nodes; /healthz and /readyz answer there, and at peers.health without TLS.",
    "On SIGTERM it finishes what it was asked for.",
    "--metrics <host:port>   answer GET /metrics there with the figures of mill.stats(), for Prometheus",
    "--verbose               log what is of interest to developers too",
  ],
  flags: { verbose: { type: "boolean" }, metrics: { type: "string" } },
  takes: { least: 0, most: 0 },

  async run({ options, values, json, console }) {
    if (options.peers?.listen === undefined) throw new UsageError("the configuration has no peers.listen: nobody could be served");
    const logger = consoleLogger(console, { level: values.verbose === true ? "debug" : "info", json });
    const mill = await openMillrace({ ...options, logger });
    let endMetrics = async (): Promise<void> => {};
    try {
      if (values.metrics !== undefined) endMetrics = await serveMetrics(String(values.metrics), () => mill.stats());
      const [self] = await mill.peers();
      logger.info({ id: self?.id, url: self?.url, labels: self?.labels }, "Serving");
      for (;;) {
        await after(CHECK_EVERY_MS, undefined, { signal: console.signal });
        await mill.peers();
      }
    } catch (error) {
      if (!console.signal.aborted) throw error;
      logger.info({}, "Closing");
      return 0;
    } finally {
      await mill.close();
      await endMetrics();
    }
  },
};

/** A mill that asks the cluster of the configuration and is no part of it: it owns nothing, listens nowhere and writes no cache directory. */
import { type Millrace, MillraceError, type MillraceOptions, openMillrace } from "../index.js";
import type { Console } from "./command.js";
import { consoleLogger } from "./log.js";
import { UsageError } from "./usage.js";

/** Of a process that holds nothing. */
const MEMORY = "64MiB";

/** Throws UsageError where the configuration has no peers. */
export async function openAsking(options: MillraceOptions, console: Console): Promise<Millrace> {
  const { cache, peers } = options;
  if (peers === undefined) throw new UsageError("the configuration has no peers: there is no cluster to ask");
  const { listen: _listen, health: _health, advertise: _advertise, weight: _weight, ...found } = peers;
  return openMillrace({
    ...options,
    cache: { blockSize: cache?.blockSize, metadata: cache?.metadata, memory: MEMORY },
    peers: found,
    logger: consoleLogger(console, { level: "warn", json: false }),
  });
}

/** Throws MILLRACE_UNAVAILABLE where no peer answers: what is asked of none is no answer. */
export async function checkMembers(mill: Millrace): Promise<void> {
  const peers = await mill.peers();
  if (peers.some(({ state }) => state === "member" || state === "broken")) return;
  const why = peers
    .map(({ url, reason }) => (reason === undefined ? undefined : `${url}: ${reason}`))
    .find((reason) => reason !== undefined);
  throw new MillraceError("MILLRACE_UNAVAILABLE", `no peer answers (${why ?? "peers.discover finds none"}); see millrace peers`);
}

import { Agent, type Dispatcher, Pool, ProxyAgent } from "undici";
import { CONNECTION_LIFE_MS, DEFAULT_TIMEOUTS, type HttpTimeouts } from "./http-timeouts.js";
import { Proxies } from "./proxies.js";

/**
 * A connection pool for each origin, by the origin's proxy where it has one: plain HTTP is forwarded, https goes through a tunnel. It opens as many
 * connections as there are requests in flight: the limiter around the store bounds them, and a queue in here would hide its priorities.
 */
export function httpAgent(timeouts: HttpTimeouts = {}, proxies: Proxies = new Proxies()): Dispatcher {
  const options = {
    connect: { timeout: timeouts.connectMs ?? DEFAULT_TIMEOUTS.connectMs },
    headersTimeout: timeouts.headMs ?? DEFAULT_TIMEOUTS.headMs,
    bodyTimeout: timeouts.stallMs ?? DEFAULT_TIMEOUTS.stallMs,
    clientTtl: CONNECTION_LIFE_MS,
    pipelining: 1,
  };
  // Undici's proxies ask for pools of their own, and would leave out the time-outs.
  const pool = (origin: string | URL, own: object): Dispatcher => new Pool(origin, { ...options, ...own });
  const factory = (origin: string | URL, own: object): Dispatcher => {
    const uri = proxies.for(String(origin));
    return uri === undefined ? pool(origin, own) : new OriginProxy({ uri, proxyTunnel: false, clientFactory: pool, factory: pool });
  };
  return new Agent({ ...options, factory });
}

/** Undici's writes the Host header into the headers it is given, which may be the next request's to another host. */
class OriginProxy extends ProxyAgent {
  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    return super.dispatch({ ...options, headers: { ...options.headers } as Record<string, string> }, handler);
  }
}

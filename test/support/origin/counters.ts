/** What the origin counts. */
import type { Socket } from "node:net";
import { LOG_LIMIT, type OriginStats, type RequestKind } from "./types.js";

type Counts = Omit<OriginStats, "keys" | "cpuSeconds" | "connections">;

function zero(inFlight: number): Counts {
  return {
    requests: 0,
    kinds: { get: 0, head: 0, list: 0, put: 0, delete: 0, multipart: 0, bucket: 0 },
    statuses: {},
    faults: 0,
    bytesSent: 0,
    bytesReceived: 0,
    inFlight,
    inFlightMax: inFlight,
    ranges: [],
  };
}

export class Counters {
  #counts: Counts = zero(0);
  #keys = new Map<string, { gets: number; bytes: number }>();
  #sockets = new WeakSet<Socket>();
  #connections = 0;
  #cpu = process.cpuUsage();

  begin(kind: RequestKind, socket: Socket): void {
    this.#counts.requests++;
    this.#counts.kinds[kind]++;
    this.#counts.inFlightMax = Math.max(this.#counts.inFlightMax, ++this.#counts.inFlight);
    if (this.#sockets.has(socket)) return;
    this.#sockets.add(socket);
    this.#connections++;
  }

  end(): void {
    this.#counts.inFlight--;
  }

  status(status: number): void {
    this.#counts.statuses[status] = (this.#counts.statuses[status] ?? 0) + 1;
  }

  fault(): void {
    this.#counts.faults++;
  }

  received(bytes: number): void {
    this.#counts.bytesReceived += bytes;
  }

  /** A GET is about to be answered with this range; returns what counts its bytes as they go out. */
  range(key: string, begin: number, end: number): (bytes: number) => void {
    if (this.#counts.ranges.length < LOG_LIMIT) this.#counts.ranges.push({ key, begin, end });
    let entry = this.#keys.get(key);
    if (entry === undefined) {
      entry = { gets: 0, bytes: 0 };
      if (this.#keys.size < LOG_LIMIT) this.#keys.set(key, entry);
    }
    entry.gets++;
    const counts = this.#counts;
    const counted = entry;
    return (bytes) => {
      counts.bytesSent += bytes;
      counted.bytes += bytes;
    };
  }

  /** Counts from nought; requests in flight stay in flight, and connections count again with their next request. */
  reset(): void {
    this.#counts = zero(this.#counts.inFlight);
    this.#keys = new Map();
    this.#sockets = new WeakSet();
    this.#connections = 0;
    this.#cpu = process.cpuUsage();
  }

  snapshot(): OriginStats {
    const { user, system } = process.cpuUsage(this.#cpu);
    return { ...this.#counts, connections: this.#connections, keys: Object.fromEntries(this.#keys), cpuSeconds: (user + system) / 1e6 };
  }
}

/** Ranges by HTTP/1.1 from bare sockets: a fixed request, the least of a head's checks, the body read where it belongs. */
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { RecordRange } from "./layout.js";
import type { RangeSource } from "./source.js";

/** Longer than nginx's heads, so that they come in one piece; short, since what comes behind one is copied. */
const HEAD_BYTES = 4096;

export class SocketSource implements RangeSource {
  readonly #endpoint: URL;
  readonly #idle: Connection[] = [];
  readonly #all: Connection[] = [];

  constructor(endpoint: string) {
    this.#endpoint = new URL(endpoint);
  }

  async read(range: RecordRange, slot: Buffer): Promise<void> {
    const connection = this.#idle.pop() ?? this.#open();
    await connection.read(range, slot);
    this.#idle.push(connection);
  }

  async close(): Promise<void> {
    for (const connection of this.#all) connection.close();
  }

  #open(): Connection {
    const connection = new Connection(this.#endpoint);
    this.#all.push(connection);
    return connection;
  }
}

class Connection {
  readonly #host: string;
  readonly #socket: Socket;
  readonly #head: Buffer = Buffer.allocUnsafeSlow(HEAD_BYTES);
  #slot: Buffer = this.#head;
  /** Bytes of the slot that have come; undefined while the head is awaited. */
  #filled: number | undefined;
  #settle: { resolve(): void; reject(error: Error): void } | undefined;

  constructor({ protocol, hostname: host, port, host: name }: URL) {
    this.#host = name;
    const onread = {
      buffer: () => (this.#filled === undefined ? this.#head : this.#slot.subarray(this.#filled)),
      callback: (count: number) => {
        this.#take(count);
        return true;
      },
    };
    const options = { host, port: Number(port), onread };
    this.#socket = protocol === "https:" ? connectTls(options) : connect(options);
    this.#socket.on("error", (error) => this.#settle?.reject(error));
    this.#socket.on("close", () => this.#settle?.reject(new Error("the server closed the connection")));
  }

  read({ path, begin, bytes }: RecordRange, slot: Buffer): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
      this.#slot = slot;
      this.#socket.write(`GET ${path} HTTP/1.1\r\nhost: ${this.#host}\r\nrange: bytes=${begin}-${begin + bytes - 1}\r\n\r\n`);
    });
  }

  close(): void {
    this.#settle = undefined;
    this.#socket.destroy();
  }

  #take(count: number): void {
    if (this.#filled === undefined) this.#filled = this.#takeHead(count);
    else this.#filled += count;
    if (this.#filled !== this.#slot.length) return;
    this.#filled = undefined;
    this.#settle!.resolve();
  }

  /** Bytes of the body that came with the head. */
  #takeHead(count: number): number | undefined {
    const text = this.#head.toString("latin1", 0, count);
    const end = text.indexOf("\r\n\r\n") + 4;
    const length = /\r\ncontent-length: (\d+)\r\n/i.exec(text)?.[1];
    if (!text.startsWith("HTTP/1.1 206 ") || end < 4 || Number(length) !== this.#slot.length) {
      this.#settle!.reject(new Error(`not the answer that was asked for: ${text.slice(0, 200)}`));
      return undefined;
    }
    return this.#head.copy(this.#slot, 0, end, count);
  }
}

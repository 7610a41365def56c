/**
 * Calls over a MessagePort, both ways, with cancel, progress and rebuilt errors.
 * The same on both sides of a thread, and with both ends in one thread (`engine: "inline"`).
 */
import type { MessagePort, Transferable as NodeTransferable } from "node:worker_threads";
import { abortedError, MillraceError } from "../errors.js";
import { manyListeners } from "../util/combined-signal.js";
import { type Deferred, deferred } from "../util/deferred.js";
import { tellObserver } from "../util/tell-observer.js";
import { fromWireError, toWireError, type WireError } from "./wire-error.js";

export interface CallContext {
  /** Fires when the caller's signal fires, or the connection closes. */
  readonly signal: AbortSignal;
  progress(value: unknown): void;
}
/** A result with the memory to hand over rather than copy. */
export class Transfer<T> {
  readonly value: T;
  readonly list: readonly NodeTransferable[];
  constructor(value: T, list: readonly NodeTransferable[]) {
    this.value = value;
    this.list = list;
  }
}
// Methods are typed by the interface each side declares; the wire itself carries any cloneable value.
export type Handlers = Readonly<Record<string, (args: never, context: CallContext) => unknown>>;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((value: never) => void) | undefined;
  readonly transfer?: readonly NodeTransferable[] | undefined;
  /** The call alone does not keep the process alive: whoever comes to wait for it holds the connection. */
  readonly background?: boolean | undefined;
}

type Message =
  | { readonly t: "call"; readonly id: number; readonly method: string; readonly args: unknown }
  | { readonly t: "result"; readonly id: number; readonly value: unknown }
  | { readonly t: "error"; readonly id: number; readonly error: WireError }
  | { readonly t: "progress"; readonly id: number; readonly value: unknown }
  | { readonly t: "cancel"; readonly id: number };

interface Pending extends Deferred<unknown> {
  readonly onProgress: ((value: never) => void) | undefined;
}

export class Rpc {
  readonly #port: MessagePort;
  readonly #handlers: Handlers;
  readonly #holds: boolean;
  readonly #pending = new Map<number, Pending>();
  readonly #serving = new Map<number, AbortController>();
  #nextId = 1;
  #holders = 0;
  #closed: Error | undefined;

  /**
   * `holds`: the connection keeps its thread alive even when idle, as the engine's own thread needs. Else only a call in progress does.
   * `watched`: somebody else closes the connection when the other side has ended, and knows why it has.
   */
  constructor(port: MessagePort, handlers: Handlers, holds = false, watched = false) {
    this.#port = port;
    this.#handlers = handlers;
    this.#holds = holds;
    port.on("message", (message: Message) => this.#receive(message));
    port.on("messageerror", (error) => this.close(new MillraceError("MILLRACE_CLOSED", "A message could not be read", { cause: error })));
    if (!watched) port.on("close", () => this.close(new MillraceError("MILLRACE_CLOSED", "The engine has ended")));
    if (!holds) port.unref();
  }

  /** Keeps the thread alive until what it returns is called. */
  hold(): () => void {
    if (this.#holders++ === 0 && this.#closed === undefined) this.#port.ref();
    let held = true;
    return () => {
      if (!held) return;
      held = false;
      if (--this.#holders === 0 && !this.#holds) this.#port.unref();
    };
  }

  async call(method: string, args: unknown, { signal, onProgress, transfer = [], background = false }: CallOptions = {}): Promise<unknown> {
    if (this.#closed !== undefined) throw this.#closed;
    if (signal?.aborted) throw abortedError(signal);
    const id = this.#nextId++;
    const pending: Pending = { ...deferred<unknown>(), onProgress };
    const cancel = () => {
      this.#port.postMessage({ t: "cancel", id } satisfies Message);
      pending.reject(abortedError(signal!));
    };
    this.#pending.set(id, pending);
    const release = background ? undefined : this.hold();
    signal?.addEventListener("abort", cancel, { once: true });
    try {
      this.#port.postMessage({ t: "call", id, method, args } satisfies Message, transfer);
      return await pending.promise;
    } finally {
      signal?.removeEventListener("abort", cancel);
      this.#pending.delete(id);
      release?.();
    }
  }

  /** Ends the connection: calls in progress on both sides end with `reason`. Calling it twice does nothing. */
  close(reason: Error = new MillraceError("MILLRACE_CLOSED", "The mill is closed")): void {
    if (this.#closed !== undefined) return;
    this.#closed = reason;
    for (const pending of this.#pending.values()) pending.reject(reason);
    for (const controller of this.#serving.values()) controller.abort(reason);
    this.#port.close();
  }

  #receive(message: Message): void {
    switch (message.t) {
      case "call":
        void this.#serve(message.id, message.method, message.args);
        break;
      case "result":
        this.#pending.get(message.id)?.resolve(message.value);
        break;
      case "error":
        this.#pending.get(message.id)?.reject(fromWireError(message.error));
        break;
      case "progress":
        this.#tell(message.id, message.value);
        break;
      case "cancel":
        this.#serving.get(message.id)?.abort();
    }
  }

  #tell(id: number, value: unknown): void {
    const pending = this.#pending.get(id);
    const end = (error: unknown): void => {
      // It may have ended by itself, and the connection too, when an async observer fails.
      if (!this.#pending.has(id)) return;
      this.#port.postMessage({ t: "cancel", id } satisfies Message);
      pending?.reject(error);
    };
    try {
      tellObserver(pending?.onProgress, value as never, end);
    } catch (error) {
      end(error);
    }
  }

  async #serve(id: number, method: string, args: unknown): Promise<void> {
    const controller = new AbortController();
    this.#serving.set(id, controller);
    const context: CallContext = {
      signal: manyListeners(controller.signal),
      progress: (value) => this.#port.postMessage({ t: "progress", id, value } satisfies Message),
    };
    try {
      const handler = this.#handlers[method];
      if (handler === undefined) throw new Error(`no such method: ${method}`);
      const result = await handler(args as never, context);
      const { value, list } = result instanceof Transfer ? result : { value: result, list: [] };
      this.#port.postMessage({ t: "result", id, value } satisfies Message, list);
    } catch (error) {
      this.#port.postMessage({ t: "error", id, error: toWireError(error) } satisfies Message);
    } finally {
      this.#serving.delete(id);
    }
  }
}

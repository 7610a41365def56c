/**
 * One fetch a block, however many ask. A flight is one block, or the needed part of one, on its way; a ticket is one caller's wait for
 * several flights. A ticket that leaves takes nobody with it: a load is given up only when its last ticket has left.
 */
import type { BlockLease, Tier } from "../blocks/block-source.js";
import type { Slot } from "../blocks/slab.js";
import { Priority, priorityValue, type Urgency } from "../storage/priority.js";
import { manyListeners } from "../util/combined-signal.js";
import { type Deferred, deferred } from "../util/deferred.js";

/** The fetch that several flights share. It is as urgent as the most urgent of those who ever waited for it. */
export class Load {
  readonly priority: Priority = new Priority(Number.POSITIVE_INFINITY);
  readonly #controller = new AbortController();
  /** A long read is many requests. */
  readonly signal: AbortSignal = manyListeners(this.#controller.signal);
  /** Ends the watch on priorities that may be raised. */
  readonly #unwatch: (() => void)[] = [];
  #tickets = 0;
  #flying = 0;

  joined(urgency: Urgency): void {
    this.#tickets++;
    this.priority.raise(priorityValue(urgency));
    if (urgency instanceof Priority) this.#unwatch.push(urgency.onRaise(() => this.priority.raise(urgency.value)));
  }

  /** A ticket stopped waiting: the last one takes what is still on its way with it. */
  left(): void {
    if (--this.#tickets === 0 && this.#flying > 0) this.#controller.abort();
  }

  /** A ticket has what it waited for: what else is on its way, for nobody yet, still comes. */
  served(): void {
    this.#tickets--;
  }

  started(): void {
    this.#flying++;
  }

  ended(): void {
    if (--this.#flying > 0) return;
    for (const unwatch of this.#unwatch.splice(0)) unwatch();
  }

  abort(): void {
    this.#controller.abort();
  }
}

interface Waiting {
  /** Place in the ticket. */
  readonly slot: number;
  /** Bytes of the object that it needs of this block. */
  readonly begin: number;
  readonly end: number;
}

/** A caller whose bytes a flight will not bring. */
export interface Apart extends Waiting {
  readonly ticket: Ticket;
}

export class Flight {
  readonly block: number;
  readonly load: Load;
  /** Asks no peer: only such a flight serves peers, or two nodes that take each other for the owner would wait for each other. */
  readonly local: boolean;
  #ended = false;
  /** Bytes that will be there; grows with those who join until the flight is sealed. */
  #begin: number;
  #end: number;
  #sealed = false;
  #waiting = new Map<Ticket, Waiting>();

  constructor(block: number, begin: number, end: number, load: Load, local: boolean) {
    this.block = block;
    this.local = local;
    this.#begin = begin;
    this.#end = end;
    this.load = load;
    load.started();
  }

  get begin(): number {
    return this.#begin;
  }

  get end(): number {
    return this.#end;
  }

  /** Fixes the bytes that will be fetched. */
  seal(begin: number, end: number): void {
    this.#begin = begin;
    this.#end = end;
    this.#sealed = true;
  }

  /**
   * For a block that will be streamed: keeps the bytes of whoever waits longest and those next to them, and tells whose lie apart.
   * What is between would be read for nobody. Those still wait here until they are moved.
   */
  narrow(maxGap: number): readonly Apart[] {
    const [keeper] = this.#waiting.keys();
    const runs: { begin: number; end: number; readonly members: Apart[] }[] = [];
    const ascending = Array.from(this.#waiting, ([ticket, wants]) => ({ ticket, ...wants })).sort((a, b) => a.begin - b.begin);
    for (const member of ascending) {
      const run = runs.at(-1);
      if (run === undefined || member.begin > run.end + maxGap) runs.push({ begin: member.begin, end: member.end, members: [member] });
      else {
        run.end = Math.max(run.end, member.end);
        run.members.push(member);
      }
    }
    const kept = runs.find(({ members }) => members.some(({ ticket }) => ticket === keeper));
    if (kept !== undefined) [this.#begin, this.#end] = [kept.begin, kept.end];
    return runs.flatMap((run) => (run === kept ? [] : run.members));
  }

  /** The ticket waits for another flight instead, which it has joined. */
  move(ticket: Ticket): void {
    this.leave(ticket);
    ticket.forget(this);
  }

  /** Somebody waits for it. */
  get awaited(): boolean {
    return this.#waiting.size > 0;
  }

  /** Somebody else than this ticket waits for it. */
  awaitedBeside(ticket: Ticket): boolean {
    return this.#waiting.size > (this.#waiting.has(ticket) ? 1 : 0);
  }

  /** Landed or failed. */
  get ended(): boolean {
    return this.#ended;
  }

  /** False where it will not bring these bytes, or has been given up. */
  join(ticket: Ticket, slot: number, begin: number, end: number): boolean {
    if (this.#ended || this.load.signal.aborted || (ticket.local && !this.local)) return false;
    if (this.#sealed && (begin < this.#begin || end > this.#end)) return false;
    this.#begin = Math.min(this.#begin, begin);
    this.#end = Math.max(this.#end, end);
    this.#waiting.set(ticket, { slot, begin, end });
    this.load.joined(ticket.urgency);
    ticket.expect(this);
    return true;
  }

  leave(ticket: Ticket): void {
    if (this.#waiting.delete(ticket)) this.load.left();
  }

  /** Hands each waiting ticket a lease of its own. The bytes came once: who asks for them again found them on their way to memory. */
  land(slot: Slot, begin: number, tier: Tier): void {
    let unclaimed = slot.bytes.length;
    for (const [ticket, wants] of this.#take()) {
      const bytes = wants.end - wants.begin;
      ticket.give(this, wants.slot, slot.lease(begin), bytes <= unclaimed ? tier : "memory");
      unclaimed -= bytes;
    }
  }

  fail(error: unknown): void {
    for (const [ticket] of this.#take()) ticket.fail(error);
  }

  /** Ends it without bytes: those who wait are to be given another flight. */
  handOver(): Apart[] {
    if (this.#ended) return [];
    return Array.from(this.#take(), ([ticket, wants]) => {
      ticket.forget(this);
      return { ticket, ...wants };
    });
  }

  #take(): Map<Ticket, Waiting> {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    this.#ended = true;
    this.load.ended();
    for (let i = 0; i < waiting.size; i++) this.load.served();
    return waiting;
  }
}

/** One caller's wait. `leases[i]` is filled as the flights land. */
export class Ticket {
  readonly urgency: Urgency;
  /** Waits for no peer. */
  readonly local: boolean;
  readonly leases: (BlockLease | undefined)[];
  readonly tiers: (Tier | undefined)[];
  readonly #flights = new Set<Flight>();
  #wait: Deferred<void> | undefined;
  #error: { readonly value: unknown } | undefined;

  constructor(count: number, urgency: Urgency, local: boolean) {
    this.urgency = urgency;
    this.local = local;
    this.leases = new Array<BlockLease | undefined>(count).fill(undefined);
    this.tiers = new Array<Tier | undefined>(count).fill(undefined);
  }

  expect(flight: Flight): void {
    this.#flights.add(flight);
  }

  forget(flight: Flight): void {
    this.#flights.delete(flight);
  }

  give(flight: Flight, i: number, lease: BlockLease, tier: Tier): void {
    this.#flights.delete(flight);
    this.leases[i] = lease;
    this.tiers[i] = tier;
    if (this.#flights.size === 0) this.#wait?.resolve();
  }

  /** Ends the wait: leaves the other flights and gives back what has landed. */
  fail(error: unknown): void {
    if (this.#error !== undefined) return;
    this.#error = { value: error };
    for (const flight of this.#flights) flight.leave(this);
    this.#flights.clear();
    for (const lease of this.leases) lease?.release();
    this.#wait?.reject(error);
  }

  /** Resolves when every flight joined so far has landed. */
  async landed(): Promise<void> {
    if (this.#error !== undefined) throw this.#error.value;
    if (this.#flights.size === 0) return;
    this.#wait = deferred<void>();
    await this.#wait.promise;
  }
}

/** The flights under way, by object and block. */
export class FlightTable {
  readonly #flights = new Map<string, Flight[]>();

  /** Joins a flight that will bring these bytes of the block, if there is one. */
  join(objectId: string, block: number, ticket: Ticket, slot: number, begin: number, end: number): boolean {
    const flights = this.#flights.get(`${objectId}/${block}`);
    return flights?.some((flight) => flight.join(ticket, slot, begin, end)) ?? false;
  }

  has(objectId: string, block: number): boolean {
    return this.#flights.has(`${objectId}/${block}`);
  }

  add(objectId: string, flight: Flight): void {
    const key = `${objectId}/${flight.block}`;
    const flights = this.#flights.get(key);
    if (flights === undefined) this.#flights.set(key, [flight]);
    else flights.push(flight);
  }

  remove(objectId: string, flight: Flight): void {
    const key = `${objectId}/${flight.block}`;
    const left = this.#flights.get(key)?.filter((other) => other !== flight) ?? [];
    if (left.length === 0) this.#flights.delete(key);
    else this.#flights.set(key, left);
  }

  *all(): Iterable<Flight> {
    for (const flights of this.#flights.values()) yield* flights;
  }
}

/** Asks the sources in order for blocks that neither memory nor disks have. */
import type { Demand } from "../blocks/block-source.js";
import { planSpans, SPAN_BYTES, type Span } from "../blocks/span.js";
import { CopySlots } from "./copy-slots.js";
import type { DiskTier } from "./disk-tier.js";
import type { Landing } from "./landing.js";
import { type Job, type LoaderParts, type Wanted, WIDE_BYTES } from "./load-job.js";

export class BlockFetch {
  readonly #parts: LoaderParts;
  readonly #landing: Landing;
  readonly #standIn: (job: Job, missing: readonly Wanted[]) => void;

  /** `standIn` is given what a source did not serve and is this node's to fetch in its stead. */
  constructor(parts: LoaderParts, landing: Landing, standIn: (job: Job, missing: readonly Wanted[]) => void) {
    this.#parts = parts;
    this.#landing = landing;
    this.#standIn = standIn;
  }

  /** What is elsewhere from the first source on, the rest from the last. */
  async all(job: Job, wanted: readonly Wanted[]): Promise<void> {
    const [local, remote] = [true, false].map((is) => wanted.filter(({ flight }) => flight.local === is));
    await Promise.all([this.#fetchOwn(job, local!), this.#fetch(job, remote!, 0)]);
  }

  /** What a disk of several processes is to hold, one of them fetches; the others take it from there. */
  async #fetchOwn(job: Job, wanted: readonly Wanted[]): Promise<void> {
    const { disk, blockSize, sources } = this.#parts;
    const shared = disk !== undefined && disk.processes > 1 ? wanted.filter(({ placement }) => placement?.disk !== undefined) : [];
    if (shared.length === 0) return this.#fetch(job, wanted, sources.length - 1);
    const groups = new Map<number, Wanted[]>();
    for (const one of shared) {
      const group = Math.floor((one.block * blockSize) / WIDE_BYTES);
      groups.set(group, [...(groups.get(group) ?? []), one]);
    }
    const apart = wanted.filter(({ placement }) => placement?.disk === undefined);
    await Promise.all([
      this.#fetch(job, apart, sources.length - 1),
      ...Array.from(groups, ([group, ones]) => this.#fetchClaimed(job, disk!, group, ones)),
    ]);
  }

  async #fetchClaimed(job: Job, disk: DiskTier, group: number, wanted: readonly Wanted[]): Promise<void> {
    let missing = wanted;
    try {
      await disk.claims.once(`${job.object.id}-${group}`, {
        signal: job.load.signal,
        arrived: async () => {
          missing = await this.#fromOthers(job, disk, missing);
          return missing.length === 0;
        },
        fetch: async () => {
          const left = missing;
          missing = [];
          await this.#fetch(job, left, this.#parts.sources.length - 1);
          await disk.written();
        },
      });
    } catch (error) {
      this.#landing.lose(job, missing, error);
    }
  }

  /** Lands what other processes have written meanwhile; returns the rest. */
  async #fromOthers(job: Job, disk: DiskTier, wanted: readonly Wanted[]): Promise<readonly Wanted[]> {
    const { object } = job;
    const found = await Promise.all(
      wanted.map(async ({ block, flight }) => (await disk.onDisk(object.id, block)) && this.#landing.fromDisk(job, disk, flight)),
    );
    for (const [i, one] of wanted.entries()) if (found[i]) this.#landing.cancel(object, one);
    return wanted.filter((_, i) => !found[i]);
  }

  async #fetch(job: Job, wanted: readonly Wanted[], level: number): Promise<void> {
    const maxBytes = job.object.store.pace?.().spanBytes ?? SPAN_BYTES;
    const groupBytes = this.#parts.sources[level]!.groupBytes;
    const spans = planSpans(wanted, { maxBytes, groupBytes });
    await Promise.all(spans.map((span) => this.#fetchSpan(job, span, wanted.slice(span.first, span.first + span.count), level)));
  }

  async #fetchSpan(job: Job, span: Span, wanted: readonly Wanted[], level: number): Promise<void> {
    const { object, load } = job;
    const source = this.#parts.sources[level]!;
    let copies: CopySlots | undefined;
    try {
      copies = new CopySlots(this.#parts.slab, source.sharedOnly === true ? undefined : job.demand.into, wanted);
      const leases = await source.read(object, wanted[0]!.block, wanted.length, this.#demand(job, span));
      await copies.touched;
      const missing: Wanted[] = [];
      for (const [i, one] of wanted.entries()) {
        const lease = leases[i];
        if (lease === undefined) missing.push(one);
        else await this.#landing.arrived(job, one, lease, source.tier, copies.of(one));
      }
      await copies.release();
      if (missing.length > 0) await this.#passOn(job, missing, level);
    } catch (error) {
      this.#landing.lose(job, wanted, error);
      if (load.signal.aborted) this.#parts.counters.abandoned++;
    } finally {
      await copies?.release();
    }
  }

  async #passOn(job: Job, missing: readonly Wanted[], level: number): Promise<void> {
    const { blockSize, sources } = this.#parts;
    const { object } = job;
    // All of a span are of one group.
    if (sources[level]!.standsIn?.(object, missing[0]!.block * blockSize) === true) this.#standIn(job, missing);
    else await this.#fetch(job, missing, level + 1);
  }

  #demand(job: Job, span: Span): Demand {
    const { counters } = this.#parts;
    const served: Demand["served"] = (tier, bytes, requests) => {
      if (tier === "origin") {
        counters.originFetchedBytes += bytes;
        counters.originRequests += requests;
      }
      job.demand.served?.(tier, 0, requests);
    };
    const { wide, into } = job.demand;
    return { begin: span.begin, end: span.end, priority: job.load.priority, signal: job.load.signal, wide, into, served };
  }
}

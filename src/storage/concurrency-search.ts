/**
 * How many requests must be in flight to an origin, by Little's law: throughput × the time that a request takes where nothing crowds it.
 * As BBR (Cardwell et al., 2016) does for packets, the throughput is the highest of the latest wide rounds, and the time is measured in a
 * narrow round now and then, since in a wide one requests may only wait for each other. Both are of whole rounds: an origin's single requests
 * differ too much for the highest or lowest of them to say anything. Pure: rounds in, places out.
 */

/** Fewer hide too little: of four one is demand's, and when one ends two are still on their way. */
const LEAST_PLACES = 4;
/** The first try: a first batch of two dozen pieces is asked for in two goes, and a thin pipe is not yet crowded for long. */
const FIRST_PLACES = 16;
/** More than Little's law asks for, so that growth is noticed, and one late request leaves no gap. */
const GAIN = 1.25;
/** A doubling that brings less has met what bounds all requests together. */
const RISE = 1.25;
/** A narrow round's part of the places. Below 1 ÷ GAIN: at the right number it takes a little from the throughput, and so shows that it is right. */
const NARROW = 2 / 3;
/** After a doubling in vain there may be far too many. */
const NARROW_AFTER_CLIMB = 1 / 2;
/** Where nothing is crowded a narrow round asks for GAIN times the places, and at the right number for as many: what lies between is noise. */
const GROWS = 1.15;
/** Less is lost by measurement alone. */
const NOTHING_LOST = 0.92;
/** Rounds between narrow ones, each of which costs up to a third of a round's throughput: 2.5 % at most. */
const HOLD_ROUNDS = 12;
/** What the highest throughput keeps with each round, so that it is of the latest five or so. */
const FADES = 0.9;

export class ConcurrencySearch {
  readonly #most: number;
  /** In the first round connections are opened and code is compiled: it measures nothing. */
  #phase: "warm" | "climb" | "narrow" | "hold" = "warm";
  #places: number;
  /** Highest throughput of the latest rounds. */
  #fastest = 0;
  /** Places ÷ throughput where nothing was crowded: the time of a request, for each byte. */
  #time = Number.POSITIVE_INFINITY;
  #held = 0;
  /** Places beside the narrow round's. */
  #wide = 0;

  /** `most`: the ceiling, at least 1. */
  constructor(most: number) {
    this.#most = most;
    this.#places = this.#clamped(FIRST_PLACES);
  }

  /** How many requests may be in flight in the round under way. */
  get places(): number {
    return this.#places;
  }

  /** A round has ended in which all places were taken and more were asked for; throughput in bytes a millisecond. */
  measured(throughput: number): void {
    if (throughput <= 0) return;
    if (this.#phase === "warm") this.#phase = "climb";
    else if (this.#phase === "climb") this.#climbed(throughput);
    else if (this.#phase === "narrow") this.#narrowed(throughput);
    else this.#heldOn(throughput);
  }

  /** The origin does not want more: what was tried is the most until narrow rounds say otherwise. */
  refused(): void {
    this.#hold(this.#phase === "narrow" ? this.#wide : this.#places);
  }

  #climbed(throughput: number): void {
    const rose = throughput >= RISE * this.#fastest;
    this.#fastest = Math.max(this.#fastest, throughput);
    this.#time = Math.min(this.#time, this.#places / throughput);
    if (!rose) this.#narrow(this.#needed(), NARROW_AFTER_CLIMB);
    else if (this.#places < this.#most) this.#places = this.#clamped(2 * this.#places);
    else this.#hold(this.#places);
  }

  #heldOn(throughput: number): void {
    this.#fastest = Math.max(FADES * this.#fastest, throughput);
    if (++this.#held >= HOLD_ROUNDS) this.#narrow(this.#places, NARROW);
  }

  #narrowed(throughput: number): void {
    this.#time = this.#places / throughput;
    const needed = this.#needed();
    const lost = throughput < NOTHING_LOST * this.#fastest;
    this.#fastest = throughput;
    // Fewer places brought less in proportion: nothing says that the wide rounds had enough.
    if (lost && needed >= GROWS * this.#wide) this.#climb(2 * this.#wide);
    else if (!lost && needed < this.#wide) this.#narrow(needed, NARROW);
    else this.#hold(needed);
  }

  #climb(places: number): void {
    this.#phase = "climb";
    this.#places = this.#clamped(places);
  }

  #narrow(wide: number, part: number): void {
    this.#phase = "narrow";
    this.#wide = wide;
    this.#places = this.#clamped(Math.floor(part * wide));
    // With the least already, there is only up.
    if (this.#places === wide) this.#climb(2 * wide);
  }

  #hold(places: number): void {
    this.#phase = "hold";
    this.#places = this.#clamped(places);
    this.#fastest = 0;
    this.#held = 0;
  }

  /** Little's law. */
  #needed(): number {
    return this.#clamped(Math.round(GAIN * this.#fastest * this.#time));
  }

  #clamped(places: number): number {
    return Math.min(this.#most, Math.max(LEAST_PLACES, places));
  }
}

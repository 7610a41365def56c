/** A request that waits for its turn. */
export interface Queued {
  /** Lower goes first. */
  readonly priority: number;
  /** Of equal priorities the lower goes first. Unique. */
  readonly arrival: number;
}

/** True where `a` goes before `b`. */
export function goesBefore(a: Queued, b: Queued): boolean {
  return a.priority === b.priority ? a.arrival < b.arrival : a.priority < b.priority;
}

/** Requests in the order in which they will go: found by halving, so that thousands may wait. */
export class RequestQueue<T extends Queued> {
  readonly #requests: T[] = [];

  get length(): number {
    return this.#requests.length;
  }

  get head(): T | undefined {
    return this.#requests[0];
  }

  insert(request: T): void {
    this.#requests.splice(this.#place(request), 0, request);
  }

  /** False where the request is not in the queue. */
  remove(request: T): boolean {
    const place = this.#place(request);
    if (this.#requests[place] !== request) return false;
    this.#requests.splice(place, 1);
    return true;
  }

  shift(): T | undefined {
    return this.#requests.shift();
  }

  /** Where the request is, or belongs. */
  #place(request: T): number {
    let low = 0;
    let high = this.#requests.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (goesBefore(this.#requests[middle]!, request)) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

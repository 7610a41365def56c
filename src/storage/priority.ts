/** How urgent a read is: lower goes first. 0 demand, 1 read-ahead, 2 and up prefetch. It can only become more urgent. */
export class Priority {
  #value: number;
  readonly #listeners = new Set<() => void>();

  constructor(value: number) {
    this.#value = value;
  }

  get value(): number {
    return this.#value;
  }

  /** Someone waits for it this urgently; who waits less urgently changes nothing. */
  raise(to: number): void {
    if (to >= this.#value) return;
    this.#value = to;
    // Live: a listener's turn may be another's end, who then must not be called.
    for (const listener of this.#listeners) listener();
  }

  /** Calls the listener after each raise, until the function returned is called. */
  onRaise(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

/** A priority that stays, or one that may be raised while the read waits. */
export type Urgency = number | Priority;

export function priorityValue(urgency: Urgency): number {
  return typeof urgency === "number" ? urgency : urgency.value;
}

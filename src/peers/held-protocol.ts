/** What peers say to each other of what they hold; no bytes of it travel. See peer-protocol.ts. */
import { PROTOCOL_VERSION } from "./peer-protocol.js";

export const HELD_PATH: string = `/v${PROTOCOL_VERSION}/held`;

/** Bytes of what was asked about that a peer holds, in memory and on disks. */
export interface Held {
  /** When it was asked. */
  readonly before: number;
  /** When it answered. */
  readonly bytes: number;
}

/** Asks for these blocks to be held where they are, and sent nowhere. */
export function holdPath(id: string, first: number, last: number): string {
  return `${HELD_PATH}/${id}/${first}-${last}`;
}

/** Undefined where the text is no answer. */
export function parseHeld(text: string): Held | undefined {
  try {
    const { before, bytes } = JSON.parse(text) as Partial<Held>;
    return isCount(before) && isCount(bytes) ? { before, bytes } : undefined;
  } catch {
    return undefined;
  }
}

function isCount(value: number | undefined): value is number {
  return Number.isSafeInteger(value) && value! >= 0;
}

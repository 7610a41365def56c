import type { Member } from "../member.js";

/** Where a peer answers, and who it is where the engine knows: what is missing is learnt by the handshake. */
export interface FoundPeer {
  /** A name or an address in lower case; IPv6 without brackets. */
  readonly host: string;
  readonly port: number;
  readonly id?: string;
  readonly weight?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Of the peer protocol. */
  readonly version?: number;
}

/** What this process tells of itself: a member, with its URL as others reach it. */
export interface Announcement extends Member {
  /** Of the peer protocol that it speaks. */
  readonly version: number;
}

/** One address that discovery has found, and what is known of who answers there. No I/O. */
import { isDeepStrictEqual } from "node:util";
import type { FoundPeer } from "./discovery/found-peer.js";
import { type Member, twoNodes } from "./member.js";
import { PeerFault } from "./peer-answers.js";
import { differingTerm, type PeerIdentity } from "./peer-protocol.js";

/** Why who answers at an address is no member. "silent": nobody answers; "another": other than announced; "twin": its id is another node's. */
export type Obstacle = "silent" | "refused" | "options" | "corrupt" | "another" | "twin";

export interface Barrier {
  readonly obstacle: Obstacle;
  readonly reason: string;
}

export interface Contact {
  found: FoundPeer;
  readonly url: string;
  /** Who answered there last, if that is a member; of one that has moved, who it was before it is asked. */
  member: Member | undefined;
  /** This node answers there. */
  own: boolean;
  /** Which process answered there last; undefined where it did not say. */
  instance: string | undefined;
  /** What keeps it out, in one word and in one line. */
  obstacle: Obstacle | undefined;
  reason: string;
  /** A handshake is under way, or waits for its turn. */
  asking: boolean;
  /** When it is asked again although all is well, by the clock. */
  askAt: number;
  /** Since when handshakes fail; undefined while they do not. */
  silentSince: number | undefined;
  /** That what is written of it elsewhere is wrong has been logged. */
  contradicted: boolean;
}

/** A peer that discovery knows and that is no member, and why. */
export interface Stranger {
  readonly url: string;
  readonly id: string | undefined;
  readonly reason: string;
}

export function newContact(found: FoundPeer, url: string, member: Member | undefined): Contact {
  return {
    found,
    url,
    member,
    own: false,
    instance: undefined,
    obstacle: undefined,
    reason: "not asked yet",
    asking: false,
    askAt: 0,
    silentSince: undefined,
    contradicted: false,
  };
}

/** It neither belongs nor is this node. */
export function isStranger({ member, own }: Contact): boolean {
  return member === undefined && !own;
}

/** What a handshake that failed says of who answers. */
export function obstacleOf(error: unknown): Obstacle {
  const reason = error instanceof PeerFault ? error.reason : undefined;
  return reason === "refused" || reason === "options" || reason === "corrupt" ? reason : "silent";
}

/** What keeps who answers at an address out, whoever else there is; undefined where nothing does, or it is this node. */
export function barrierOf(self: PeerIdentity, { found, url }: Contact, identity: PeerIdentity): Barrier | undefined {
  const { id, instance } = identity;
  if (id === self.id) return areTwo(instance, self.instance) ? twinBarrier(id, url, "this node") : undefined;
  if (found.id !== undefined && found.id !== id) return { obstacle: "another", reason: `another answers in its place (${id})` };
  const differs = differingTerm(self, identity);
  return differs === undefined ? undefined : { obstacle: "options", reason: `it differs in ${differs}` };
}

export function twinBarrier(id: string, url: string, other: string): Barrier {
  return { obstacle: "twin", reason: twoNodes(id, url, other) };
}

/** Two processes answered; where one of them does not say which it is, they may be one. */
export function areTwo(one: string | undefined, other: string | undefined): boolean {
  return one !== undefined && other !== undefined && one !== other;
}

/** What is written of a peer is not what it says itself. */
export function contradicts({ weight, labels }: FoundPeer, identity: PeerIdentity): boolean {
  return (weight !== undefined && weight !== identity.weight) || (labels !== undefined && !isDeepStrictEqual(labels, identity.labels));
}

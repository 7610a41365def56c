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

/** What this process tells of itself: a member, with the version of the protocol it speaks. */
export interface Announcement {
  /** Stable over restarts of the node, unlike its address. */
  readonly id: string;
  /** `http://host:port` or `https://host:port`, as others reach it. */
  readonly url: string;
  readonly weight: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly version: number;
}

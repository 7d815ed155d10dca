/** A connection to the manager, and what its greeting has made of it. */
import type { Connection } from "../../control/connection.ts";
import type { ManagerSays, ToManager } from "../../protocol/manager-messages.ts";
import type { Session } from "../nodes/known/entry.ts";
import type { OwnEnd } from "../../protocol/holder/proof.ts";
import type { Claims } from "../../protocol/token.ts";
import type { Viewer } from "../tokens/viewer.ts";

/** What the manager needs of a connection, over any transport. */
export type PeerConnection = Pick<
  Connection<ToManager, ManagerSays>,
  "send" | "close" | "trust" | "hold" | "resume"
>;

export interface NodeRole {
  kind: "node";
  name: string;
  instance: string;
  /** As it has announced. */
  cores: number;
  /** Undefined for a node that is out of the cluster and only settles its bills. */
  session: Session | undefined;
  heardAtMs: number;
  usageMessages: number;
  /** Which messages it takes that not every node does. */
  can: readonly string[];
}

export interface ClientRole {
  kind: "client";
  /** Which leases it may see, or why it may see none. */
  viewer: Viewer | { refused: string };
}

/** How a peer came. */
export interface Way {
  /** Our address that it connected to. */
  reachedAt: string;
  comesFrom: string;
  /** It is TLS. */
  secure?: boolean;
  /** Our end of it, once the peer has said something. Left out, one that no proof is for. */
  end?: OwnEnd;
  /** It leaves the machine in clear. */
  overheard?: boolean;
  /** Why a peer that came so is refused. */
  refused?: string;
}

export interface Peer {
  readonly connection: PeerConnection;
  readonly connectedAtMs: number;
  readonly way: Way;
  ungreetedBytes: number;
  /** What it has shown. */
  token?: Claims | undefined;
  /** Hears the proof that the peer was asked for. */
  proven?: ((proof: string) => void) | undefined;
  /** Undefined until it has greeted. */
  role: NodeRole | ClientRole | undefined;
}

/** A peer that is a node. */
export type NodePeer = Peer & { role: NodeRole };
/** A peer that is a client. */
export type ClientPeer = Peer & { role: ClientRole };

export const isNode = (peer: Peer | undefined): peer is NodePeer => peer?.role?.kind === "node";
export const isClient = (peer: Peer | undefined): peer is ClientPeer =>
  peer?.role?.kind === "client";

/** As the log calls it. */
export function describePeer({ role }: Peer): string {
  if (!role) return "a connection";
  return role.kind === "node" ? `node ${role.name}` : "a client";
}

/** A connection to the manager, and what its greeting has made of it. */
import type { Connection } from "../../control/connection.ts";
import type { ManagerToClient, ManagerToNode, ToManager } from "../../protocol/manager-messages.ts";
import type { Session } from "../nodes/registry.ts";
import type { Viewer } from "../tokens/viewer.ts";

/** What the manager needs of a connection, over any transport. */
export type PeerConnection = Pick<
  Connection<ToManager, ManagerToNode | ManagerToClient>,
  "send" | "close" | "trust" | "hold" | "resume"
>;

export interface NodeRole {
  kind: "node";
  name: string;
  instance: string;
  /** Undefined for a node that is out of the cluster and only settles its bills. */
  session: Session | undefined;
  heardAtMs: number;
  usageMessages: number;
}

export interface ClientRole {
  kind: "client";
  /** Which leases it may see, or why it may see none. */
  viewer: Viewer | { refused: string };
}

export interface Peer {
  readonly connection: PeerConnection;
  readonly connectedAtMs: number;
  /** Our address that it connected to. */
  readonly reachedAt: string;
  /** The address that it came from. */
  readonly comesFrom: string;
  ungreetedBytes: number;
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

/**
 * Where peers arrive at the manager: connections, greetings and tokens. A peer greets first; what it may say from then on follows
 * from its greeting.
 */
import type { Clock } from "../../base/clock.ts";
import type { ConnectionEvents } from "../../control/connection.ts";
import { Ungreeted, descriptorLimit } from "../../control/ungreeted.ts";
import {
  type Announce,
  type Enrol,
  type Greeting,
  MANAGER_PROTOCOL_VERSION,
  type ToManager,
} from "../../protocol/manager-messages.ts";
import { VERSION } from "../../base/version.ts";
import { isBound } from "../../protocol/holder/credential.ts";
import { checkProof, newNonce } from "../../protocol/holder/proof.ts";
import { type Revocations, describeRevocation } from "../../protocol/tokens/revocation.ts";
import type { Proving, TokenCheck } from "../tokens/keys.ts";
import {
  type ClientRole,
  type NodeRole,
  type Peer,
  type PeerConnection,
  type Way,
  describePeer,
} from "./peer.ts";

/** A peer greets within this time. */
const GREETING_LIMIT_MS = 5_000;
/** Longer than any greeting. */
export const MAX_GREETING_BYTES = 16 * 1024;
/** More than connect at once when a cluster starts; beyond it the manager drops the oldest. */
const UNGREETED = { perPeer: 4_096, total: 8_192 };
/** Beyond it, and where fewer descriptors are allowed beyond most of those, a new connection takes the place of an idle one. */
const MAX_CONNECTIONS = 32_768;
/** The other descriptors are for the ledger and HTTP. */
const CONNECTIONS_PER_DESCRIPTOR = 0.9;
const NO_END = { places: [], key: null };
const OVERHEARD =
  "a token came in clear from another machine, where others may have read it; make another one, and show it over TLS: give the manager's address as rfaas://HOST:PORT?ca=sha256:..";

export interface ReceptionOptions {
  tokens: TokenCheck;
  /** Why this manager turns all peers away, as it stands by for another; undefined when it leads. */
  standsBy(): string | undefined;
  log(level: "info" | "warn", message: string): void;
  clock: Clock;
}

export interface ReceptionEvents {
  /** A node with a valid token announces itself; {@link Reception.greeted} admits it. */
  announced(peer: Peer, announce: Announce): void;
  /** A client subscribes to the list of nodes; {@link Reception.greeted} admits it. */
  subscribed(peer: Peer, viewer: ClientRole["viewer"]): void;
  /** A node asks for a certificate, and has nothing else to say over this connection. */
  enrols(peer: Peer, enrol: Enrol): Promise<void>;
  /** A peer that has greeted sends a message. */
  said(peer: Peer, message: ToManager): void;
  gone(peer: Peer): void;
}

export class Reception {
  readonly #options: ReceptionOptions;
  readonly #events: ReceptionEvents;
  readonly #maxConnections = maxConnections();
  readonly #peers = new Set<Peer>();
  readonly #ungreeted = new Ungreeted<Peer>(UNGREETED);

  constructor(options: ReceptionOptions, events: ReceptionEvents) {
    this.#options = options;
    this.#events = events;
  }

  /** Connections that are open, whether they have greeted or not. */
  get count(): number {
    return this.#peers.size;
  }

  /** Takes in a connection, which `open` makes of who hears it. Returns undefined when there is no room for another one. */
  connect(
    open: (events: ConnectionEvents<ToManager>) => PeerConnection,
    way: Way,
  ): Peer | undefined {
    if (this.#peers.size >= this.#maxConnections && !this.#makeRoom()) return undefined;
    const events: ConnectionEvents<ToManager> = {
      message: (message) => this.#heard(peer, message),
      closed: (error) => this.#closed(peer, error),
    };
    const connection = open(events);
    const peer: Peer = {
      connection,
      connectedAtMs: this.#options.clock.nowMs(),
      way,
      ungreetedBytes: 0,
      role: undefined,
    };
    this.#peers.add(peer);
    this.#ungreeted.add(peer, way.comesFrom)?.connection.close();
    return peer;
  }

  /** Whether so many further bytes of a peer may be read: before it has greeted, no more than a greeting. */
  mayRead(peer: Peer, bytes: number): boolean {
    if (peer.role || (peer.ungreetedBytes += bytes) <= MAX_GREETING_BYTES) return true;
    this.refuse(peer, "RFAAS_PROTOCOL", "the first message must be a greeting");
    return false;
  }

  /** Admits a peer in the role of its greeting. */
  greeted<Role extends NodeRole | ClientRole>(peer: Peer, role: Role): Peer & { role: Role } {
    this.#ungreeted.delete(peer);
    peer.connection.trust();
    return Object.assign(peer, { role });
  }

  refuse(peer: Peer, code: string, message: string): void {
    this.#options.log("warn", `${describePeer(peer)} was refused: ${message}`);
    peer.connection.send({ t: "refused", code, message });
    peer.connection.close();
  }

  /** As {@link refuse}, of one that finds another manager by itself. */
  turnAway({ connection }: Peer, message: string): void {
    connection.send({ t: "refused", code: "RFAAS_NOT_LEADER", message });
    connection.close();
  }

  /** Ends connections that have not greeted in time. */
  tick(nowMs: number): void {
    for (const peer of this.#ungreeted) {
      if (nowMs - peer.connectedAtMs < GREETING_LIMIT_MS) break;
      peer.connection.close();
    }
  }

  /** Ends the connections of those whose token was revoked. */
  dropRevoked(revocations: Revocations): void {
    for (const peer of [...this.#peers]) {
      const revoked = peer.token && revocations.of(peer.token);
      if (revoked) this.refuse(peer, "RFAAS_TOKEN", describeRevocation(revoked));
    }
  }

  sayAlive(): void {
    for (const { role, connection } of this.#peers) if (role) connection.send({ t: "alive" });
  }

  closeAll(): void {
    for (const { connection } of [...this.#peers]) connection.close();
  }

  /** A peer that means to greet does so at once: the oldest that has not goes first. False when all have greeted. */
  #makeRoom(): boolean {
    for (const peer of this.#ungreeted) {
      peer.connection.close();
      return true;
    }
    return false;
  }

  #closed(peer: Peer, error: Error | undefined): void {
    if (error) {
      peer.connection.send({ t: "refused", code: "RFAAS_PROTOCOL", message: error.message });
      this.#options.log("warn", `${describePeer(peer)} was disconnected: ${error.message}`);
    }
    this.#peers.delete(peer);
    this.#ungreeted.delete(peer);
    this.#events.gone(peer);
  }

  #heard(peer: Peer, message: ToManager): void {
    if (peer.role) return this.#events.said(peer, message);
    if (message.t === "prove" && peer.proven) {
      const heard = peer.proven;
      // Each nonce is good for one answer.
      peer.proven = undefined;
      peer.connection.hold();
      return heard(message.proof);
    }
    if (message.t !== "announce" && message.t !== "subscribe" && message.t !== "enrol")
      return this.refuse(peer, "RFAAS_PROTOCOL", "the first message must be a greeting");
    const { protocol, version } = message;
    if (protocol !== MANAGER_PROTOCOL_VERSION) {
      const who = message.t === "subscribe" ? "client" : "node";
      const older = protocol < MANAGER_PROTOCOL_VERSION ? who : "manager";
      return this.refuse(
        peer,
        "RFAAS_PROTOCOL",
        `the manager speaks protocol ${MANAGER_PROTOCOL_VERSION} (rfaas ${VERSION}), the ${who} ${protocol} (rfaas ${version}); update the ${older}`,
      );
    }
    const standsBy = this.#options.standsBy();
    if (standsBy !== undefined) return this.turnAway(peer, standsBy);
    const { refused, overheard } = peer.way;
    if (refused !== undefined) return this.refuse(peer, "RFAAS_TLS_REQUIRED", refused);
    const secret = message.t === "enrol" ? message.joinToken : message.token;
    if (secret !== null && overheard && !isBound(secret))
      return this.refuse(peer, "RFAAS_TOKEN", OVERHEARD);
    peer.connection.hold();
    const answered =
      message.t === "enrol" ? this.#events.enrols(peer, message) : this.#admit(peer, message);
    answered.catch((error: Error) => peer.connection.close(error));
  }

  /** Has the peer prove that it holds the key of its token, once, whatever is asked of the token. */
  #provingOf(peer: Peer): Proving {
    let proved: Promise<void> | undefined;
    const prove: Proving = async (shown) => {
      const nonce = newNonce();
      const proof = await new Promise<string>((resolve) => {
        peer.proven = resolve;
        peer.connection.send({ t: "challenge", nonce });
        peer.connection.resume();
      });
      await checkProof(proof, shown, { ...(peer.way.end ?? NO_END), nonce });
    };
    return (shown) => (proved ??= prove(shown));
  }

  /** Admits a peer by its token. Its further messages wait meanwhile. */
  async #admit(peer: Peer, message: Exclude<Greeting, { t: "enrol" }>): Promise<void> {
    const { tokens } = this.#options;
    const isNode = message.t === "announce";
    const proving = this.#provingOf(peer);
    const [viewer, admitted] = await Promise.all([
      isNode ? undefined : tokens.check(message.token, "read", proving),
      tokens.check(message.token, isNode ? "node" : "client", proving),
    ]);
    // It may have gone, or another key counts, or another manager leads.
    if (!this.#peers.has(peer) || this.#options.standsBy() !== undefined) return;
    // A token to look at the manager over HTTP lets a client look at it here, too.
    if ("refused" in admitted && (!viewer || "refused" in viewer))
      return this.refuse(peer, "RFAAS_TOKEN", admitted.refused);
    // Who steals a node's token gets no further than its name.
    if (
      isNode &&
      tokens.publicKey !== null &&
      !("refused" in admitted) &&
      admitted.node !== message.name
    )
      return this.refuse(
        peer,
        "RFAAS_TOKEN",
        `the token of ${admitted.user} is ${admitted.node === undefined ? "for no node" : `that of the node ${admitted.node}`}, and not of the node ${message.name}; let the node join by its name (rfaas node join-token), or make it a token: rfaas token create --scope node --node ${message.name}`,
      );
    for (const one of [viewer, admitted]) if (one && !("refused" in one)) peer.token = one.token;
    if (isNode) this.#events.announced(peer, message);
    else this.#events.subscribed(peer, viewer!);
    peer.connection.resume();
  }
}

function maxConnections(): number {
  return Math.min(MAX_CONNECTIONS, Math.floor(CONNECTIONS_PER_DESCRIPTOR * descriptorLimit()));
}

/**
 * The manager's port: nodes announce themselves and report, clients subscribe. Whoever connects greets first; what it may say
 * from then on follows from its greeting.
 */
import type { Socket, SocketHandler, TCPSocketListener } from "bun";
import { formatAddress } from "../control/address.ts";
import { Connection, type ConnectionEvents } from "../control/connection.ts";
import {
  ALIVE_INTERVAL_MS,
  type Announce,
  MANAGER_PROTOCOL_VERSION,
  type ManagerToClient,
  type ManagerToNode,
  type ToManager,
  type UsageReport,
  inParts,
  toManagerVocabulary,
} from "../protocol/manager-messages.ts";
import { Ungreeted, descriptorLimit } from "../control/ungreeted.ts";
import { VERSION } from "../base/version.ts";
import { listenAt } from "./listener.ts";
import type { TokenCheck } from "./tokens/keys.ts";
import { type Viewer, leasesFor } from "./tokens/viewer.ts";
import type { NodeLedger } from "./ledger/node-ledger.ts";
import { type Registry, type Session, nodeProblem } from "./nodes/registry.ts";
import { RemoteCounters } from "./ledger/remote-counters.ts";
import { Subscribers } from "./nodes/subscribers.ts";
import { type LedgerSink, UsageIntake } from "./ledger/usage-intake.ts";

export interface ManagerServerOptions {
  registry: Registry;
  ledger: LedgerSink;
  tokens: TokenCheck;
  log(level: "info" | "warn", message: string): void;
}

/** Who connects greets within this time. */
const GREETING_LIMIT_MS = 5_000;
/** Longer than any greeting. */
const MAX_GREETING_BYTES = 16 * 1024;
/** More than come at once when a cluster starts; beyond it the oldest goes. */
const UNGREETED = { perPeer: 4_096, total: 8_192 };
/** Beyond it, and where fewer descriptors are allowed beyond most of those, a new connection takes the place of an idle one. */
const MAX_CONNECTIONS = 32_768;
/** The other descriptors are for the ledger and HTTP. */
const CONNECTIONS_PER_DESCRIPTOR = 0.9;
/** A node that has only bills to hand in may think for so long. */
const SETTLING_SILENCE_MS = 30_000;
const TICK_MS = 100;
/** A machine that vanished is noticed, in the end. */
const KEEP_ALIVE_MS = 10_000;

type Greeting = Extract<ToManager, { t: "announce" | "subscribe" }>;
type PeerConnection = Connection<ToManager, ManagerToNode | ManagerToClient>;

interface NodeRole {
  kind: "node";
  name: string;
  instance: string;
  /** Undefined for a node that is out of the cluster and only settles its bills. */
  session: Session | undefined;
  heardAtMs: number;
  usageMessages: number;
}

interface ClientRole {
  kind: "client";
  /** Which leases it may see, or why it may see none. */
  viewer: Viewer | { refused: string };
}

interface Peer {
  readonly connection: PeerConnection;
  readonly connectedAtMs: number;
  /** Our address that it connected to. */
  readonly reachedAt: string;
  ungreetedBytes: number;
  role: NodeRole | ClientRole | undefined;
}

export class ManagerServer {
  /** As a node or client would name it. */
  readonly address: string;
  readonly #options: ManagerServerOptions;
  readonly #listener: TCPSocketListener<undefined>;
  readonly #maxConnections = maxConnections();
  readonly #peers = new Set<Peer>();
  readonly #ungreeted = new Ungreeted<Peer>(UNGREETED);
  readonly #nodes = new Map<Session, Peer>();
  readonly #settling = new Set<Peer>();
  readonly #subscribers: Subscribers;
  readonly #intake: UsageIntake;
  readonly #counters: RemoteCounters;
  readonly #unlisten: () => void;
  readonly #timers: ReturnType<typeof setInterval>[];

  /** Listens at `address`, HOST:PORT. Throws as {@link listenAt} does. */
  constructor(address: string, options: ManagerServerOptions) {
    this.#options = options;
    const { registry } = options;
    this.#listener = listenAt(address, this.#handler());
    const { hostname, port } = this.#listener;
    this.address = formatAddress({ kind: "tcp", host: hostname, port });
    this.#subscribers = new Subscribers(registry);
    this.#intake = new UsageIntake(options.ledger, { ledger: (problem) => this.#ledger(problem) });
    this.#counters = new RemoteCounters({
      usage: (reports) => this.#intake.add(reports, () => {}),
      log: (level, message) => options.log(level, message),
    });
    this.#unlisten = registry.onChange((name) => {
      const state = registry.get(name)?.state;
      if (state !== "up" && state !== "draining") this.#intake.forget(name);
    });
    this.#timers = [
      setInterval(() => this.#tick(), TICK_MS),
      setInterval(() => this.#sayAlive(), ALIVE_INTERVAL_MS),
    ];
  }

  /** Connections that are open, whatever they are. */
  get connectionCount(): number {
    return this.#peers.size;
  }

  get subscriberCount(): number {
    return this.#subscribers.count;
  }

  /** The newest report of each lease that goes on. */
  leases(): UsageReport[] {
    return this.#intake.leases();
  }

  /** How what its leases use comes in. */
  ledgerOf(name: string): NodeLedger {
    const session = this.#options.registry.sessionOf(name);
    const peer = session === undefined ? undefined : this.#nodes.get(session);
    if (peer?.role?.kind !== "node") return { ledger: "messages", ledgerAdds: 0, usageMessages: 0 };
    const { connected, rises } = this.#counters.stateOf(peer);
    const { usageMessages } = peer.role;
    return { ledger: connected ? "verbs" : "messages", ledgerAdds: rises, usageMessages };
  }

  /** Asks a node to grant no more leases and to end those it has by the deadline. False when there is no such node. */
  drain(name: string, deadlineMs: number): boolean {
    const known = this.#options.registry.drain(name, deadlineMs, performance.now());
    this.#connectionOf(name)?.send({ t: "drain", deadlineMs });
    return known;
  }

  /** Lets a node serve again. False when there is no such node. */
  resume(name: string): boolean {
    const known = this.#options.registry.resume(name);
    this.#connectionOf(name)?.send({ t: "resume" });
    return known;
  }

  /** Takes a node out of the cluster; it may still hand in its bills. False when there is no such node. */
  remove(name: string): boolean {
    const { registry } = this.#options;
    const session = registry.sessionOf(name);
    const peer = session === undefined ? undefined : this.#nodes.get(session);
    const known = registry.remove(name);
    if (peer?.role?.kind === "node") this.#settle(peer, peer.role);
    peer?.connection.send({ t: "remove" });
    return known;
  }

  /** Another key counts: whoever is connected comes again, with a token that is signed by it. */
  reconnectAll(): void {
    for (const { connection } of [...this.#peers]) connection.close();
  }

  /** Accepts no more, saves what has come, and closes all connections. */
  close(): void {
    for (const timer of this.#timers) clearInterval(timer);
    this.#listener.stop();
    this.#counters.close();
    this.#intake.flush();
    this.#unlisten();
    this.#subscribers.close();
    for (const { connection } of [...this.#peers]) connection.close();
  }

  #handler(): SocketHandler<undefined> {
    const peers = new WeakMap<Socket<undefined>, Peer>();
    const close = (socket: Socket<undefined>, error?: Error) =>
      peers.get(socket)?.connection.close(error);
    return {
      binaryType: "uint8array",
      open: (socket) => {
        if (this.#peers.size >= this.#maxConnections && !this.#makeRoom()) {
          socket.terminate();
          return;
        }
        const peer = this.#newPeer(localAddress(socket), socket.remoteAddress);
        peers.set(socket, peer);
        peer.connection.opened(socket);
        socket.setKeepAlive(true, KEEP_ALIVE_MS);
        socket.setNoDelay(true);
      },
      data: (socket, bytes) => {
        const peer = peers.get(socket);
        if (!peer) return;
        if (!peer.role && (peer.ungreetedBytes += bytes.length) > MAX_GREETING_BYTES)
          return this.#refuse(peer, "RFAAS_PROTOCOL", "the first message must be a greeting");
        peer.connection.received(bytes);
      },
      drain: (socket) => peers.get(socket)?.connection.drained(),
      end: (socket) => close(socket),
      close: (socket) => close(socket),
      error: close,
    };
  }

  /** Those that greet do so at once: the oldest that has not goes first. False when all have greeted. */
  #makeRoom(): boolean {
    for (const peer of this.#ungreeted) {
      peer.connection.close();
      return true;
    }
    return false;
  }

  #newPeer(reachedAt: string, comesFrom: string): Peer {
    const events: ConnectionEvents<ToManager> = {
      message: (message) => this.#heard(peer, message),
      closed: (error) => this.#closed(peer, error),
    };
    const connection: PeerConnection = new Connection(
      toManagerVocabulary,
      events,
      MAX_GREETING_BYTES,
    );
    const peer: Peer = {
      connection,
      connectedAtMs: performance.now(),
      reachedAt,
      ungreetedBytes: 0,
      role: undefined,
    };
    this.#peers.add(peer);
    this.#ungreeted.add(peer, comesFrom)?.connection.close();
    return peer;
  }

  #closed(peer: Peer, error: Error | undefined): void {
    if (error) {
      peer.connection.send({ t: "refused", code: "RFAAS_PROTOCOL", message: error.message });
      this.#options.log("warn", `${describe(peer)} was disconnected: ${error.message}`);
    }
    this.#peers.delete(peer);
    this.#ungreeted.delete(peer);
    this.#settling.delete(peer);
    this.#counters.forget(peer);
    this.#subscribers.delete(peer.connection);
    if (peer.role?.kind !== "node") return;
    const { registry, log } = this.#options;
    const { name, session } = peer.role;
    const there = registry.sessionOf(name);
    if (session === undefined) {
      if (there === undefined) this.#intake.forget(name);
      return;
    }
    this.#nodes.delete(session);
    if (there === session) log("warn", `node ${name} is lost: its connection ended`);
    registry.lost(session, performance.now());
  }

  #refuse(peer: Peer, code: string, message: string): void {
    this.#options.log("warn", `${describe(peer)} was refused: ${message}`);
    peer.connection.send({ t: "refused", code, message });
    peer.connection.close();
  }

  #heard(peer: Peer, message: ToManager): void {
    const { role } = peer;
    if (role?.kind === "node") return this.#heardNode(peer, role, message);
    if (role?.kind === "client") return this.#heardClient(peer, role, message);
    if (message.t !== "announce" && message.t !== "subscribe")
      return this.#refuse(peer, "RFAAS_PROTOCOL", "the first message must be a greeting");

    const isNode = message.t === "announce";
    if (message.protocol !== MANAGER_PROTOCOL_VERSION) {
      const who = isNode ? "node" : "client";
      const older = message.protocol < MANAGER_PROTOCOL_VERSION ? who : "manager";
      return this.#refuse(
        peer,
        "RFAAS_PROTOCOL",
        `the manager speaks protocol ${MANAGER_PROTOCOL_VERSION} (rfaas ${VERSION}), the ${who} ${message.protocol} (rfaas ${message.version}); update the ${older}`,
      );
    }
    peer.connection.hold();
    this.#admit(peer, message).catch((error: Error) => peer.connection.close(error));
  }

  /** Lets a peer in by its token. What it says meanwhile waits. */
  async #admit(peer: Peer, message: Greeting): Promise<void> {
    const { tokens } = this.#options;
    const isNode = message.t === "announce";
    const [viewer, admitted] = await Promise.all([
      isNode ? undefined : tokens.check(message.token, "read"),
      tokens.check(message.token, isNode ? "node" : "client"),
    ]);
    // It may have gone, or another key counts.
    if (!this.#peers.has(peer)) return;
    // Whoever may look at the manager may look at it here, too.
    if ("refused" in admitted && (!viewer || "refused" in viewer))
      return this.#refuse(peer, "RFAAS_TOKEN", admitted.refused);
    if (isNode) this.#announced(peer, message);
    else this.#subscribed(peer, viewer!);
    peer.connection.resume();
  }

  #announced(peer: Peer, announce: Announce): void {
    const { registry, tokens, log } = this.#options;
    const { name, instance } = announce;
    const nowMs = performance.now();
    const role: NodeRole = {
      ...{ kind: "node", name, instance, session: undefined },
      ...{ heardAtMs: nowMs, usageMessages: 0 },
    };
    let wish: ManagerToNode | undefined;
    if (announce.settling) {
      const problem = nodeProblem(announce);
      if (problem) return this.#refuse(peer, "RFAAS_USAGE", problem);
      this.#settle(peer, role);
    } else {
      const answer = registry.announce(announce, nowMs);
      if (answer.kind === "refused") return this.#refuse(peer, answer.code, answer.message);
      role.session = answer.session;
      this.#nodes.set(answer.session, peer);
      if (answer.replaced !== undefined) this.#nodes.get(answer.replaced)?.connection.close();
      else log("info", `node ${name} joined with ${announce.cores} cores at ${announce.address}`);
      const deadlineMs = registry.drainLeftMs(name, nowMs);
      // What was wished while it was away. A manager that knows nothing leaves a node as it is.
      if (deadlineMs !== undefined) wish = { t: "drain", deadlineMs };
      else if (registry.isResumed(name)) wish = { t: "resume" };
    }
    this.#greeted(peer, role);
    peer.connection.send({ t: "accepted", name, publicKey: tokens.publicKey });
    if (wish) peer.connection.send(wish);
    const { problem } = this.#intake;
    if (problem !== null) peer.connection.send({ t: "ledger", problem });
  }

  #subscribed(peer: Peer, viewer: ClientRole["viewer"]): void {
    this.#greeted(peer, { kind: "client", viewer });
    peer.connection.send({ t: "manager-key", publicKey: this.#options.tokens.publicKey });
    this.#subscribers.add(peer.connection);
  }

  #greeted(peer: Peer, role: NodeRole | ClientRole): void {
    peer.role = role;
    this.#ungreeted.delete(peer);
    peer.connection.trust();
  }

  #heardNode(peer: Peer, role: NodeRole, message: ToManager): void {
    const { registry, log } = this.#options;
    const nowMs = performance.now();
    role.heardAtMs = nowMs;
    if (role.session !== undefined) registry.heard(role.session, nowMs);
    switch (message.t) {
      case "capacity":
        if (role.session !== undefined) registry.report(role.session, message, nowMs);
        return;
      case "usage": {
        const foreign = message.reports.find(
          ({ node, lease }) => node !== role.name || !lease.startsWith(`${role.instance}/`),
        );
        if (foreign)
          return this.#refuse(
            peer,
            "RFAAS_PROTOCOL",
            `lease ${foreign.lease} is not of node ${role.name} as it was announced; update the node`,
          );
        role.usageMessages++;
        for (const { lease, endedAtMs } of message.reports)
          if (endedAtMs !== null) this.#counters.unbind(peer, lease);
        return this.#intake.add(message.reports, () =>
          peer.connection.send({ t: "usage-saved", batch: message.batch }),
        );
      }
      case "ask-counters":
        return this.#offerCounters(peer, role);
      case "bind-row": {
        const { row, lease } = message;
        const report = this.#intake.living(role.name, lease);
        if (report && this.#counters.bind(peer, row, report))
          peer.connection.send({ t: "row-bound", row, lease });
        return;
      }
      case "leaving":
        if (role.session !== undefined) {
          log("info", `node ${role.name} left`);
          registry.leave(role.session);
        }
        return peer.connection.close();
      case "announce":
      case "subscribe":
      case "ask-leases":
        return this.#refuse(
          peer,
          "RFAAS_PROTOCOL",
          `a node that has announced itself cannot say "${message.t}"; update the node`,
        );
    }
  }

  #offerCounters(peer: Peer, { name, session }: NodeRole): void {
    const { registry } = this.#options;
    const node = session === undefined ? undefined : registry.get(name);
    const offer = node
      ? this.#counters.offer(peer, name, peer.reachedAt, node.cores)
      : { reason: "the node is out of the cluster" };
    peer.connection.send(
      "reason" in offer ? { t: "no-counters", ...offer } : { t: "counters", ...offer },
    );
  }

  #heardClient(peer: Peer, { viewer }: ClientRole, message: ToManager): void {
    if (message.t !== "ask-leases")
      return this.#refuse(
        peer,
        "RFAAS_PROTOCOL",
        `a client that has subscribed cannot say "${message.t}"; update the client`,
      );
    if ("refused" in viewer) return this.#refuse(peer, "RFAAS_TOKEN", viewer.refused);
    const parts = inParts(leasesFor(viewer, this.leases()));
    for (const [i, leases] of parts.entries())
      peer.connection.send({ t: "leases", id: message.id, leases, last: i === parts.length - 1 });
  }

  #settle(peer: Peer, role: NodeRole): void {
    if (role.session !== undefined) this.#nodes.delete(role.session);
    role.session = undefined;
    this.#counters.forget(peer);
    this.#settling.add(peer);
  }

  #connectionOf(name: string): PeerConnection | undefined {
    const session = this.#options.registry.sessionOf(name);
    return session === undefined ? undefined : this.#nodes.get(session)?.connection;
  }

  #ledger(problem: string | null): void {
    const { log } = this.#options;
    if (problem === null) log("info", "the ledger can be written again");
    else log("warn", `the ledger cannot be written, nodes keep their bills: ${problem}`);
    for (const { connection } of this.#nodes.values()) connection.send({ t: "ledger", problem });
  }

  #tick(): void {
    const { registry, log } = this.#options;
    const nowMs = performance.now();
    for (const session of registry.tick(nowMs)) {
      const peer = this.#nodes.get(session);
      if (peer) log("warn", `${describe(peer)} is lost: it is silent`);
      peer?.connection.close();
    }
    for (const peer of this.#ungreeted) {
      if (nowMs - peer.connectedAtMs < GREETING_LIMIT_MS) break;
      peer.connection.close();
    }
    for (const peer of this.#settling)
      if (peer.role?.kind === "node" && nowMs - peer.role.heardAtMs > SETTLING_SILENCE_MS)
        peer.connection.close();
  }

  #sayAlive(): void {
    for (const { role, connection } of this.#peers) if (role) connection.send({ t: "alive" });
  }
}

function describe({ role }: Peer): string {
  if (!role) return "a connection";
  return role.kind === "node" ? `node ${role.name}` : "a client";
}

/** Without the form that IPv4 has on a socket of both families. */
function localAddress({ localAddress: address }: Socket<undefined>): string {
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}

function maxConnections(): number {
  return Math.min(MAX_CONNECTIONS, Math.floor(CONNECTIONS_PER_DESCRIPTOR * descriptorLimit()));
}

/**
 * The manager of a cluster, over any transport: which nodes are up, what leases cost, and what operators ask of nodes. It grants no
 * lease and sees no call.
 */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../base/clock.ts";
import {
  Connection,
  type ConnectionEvents,
  type Wire,
  type WireEvents,
} from "../control/connection.ts";
import { isOneOf } from "../protocol/declare.ts";
import {
  ALIVE_INTERVAL_MS,
  type ManagerSays,
  type ToManager,
  type UsageReport,
  clientToManager,
  nodeToManager,
  toManagerVocabulary,
} from "../protocol/manager-messages.ts";
import { LostLeases, type OpenLeases } from "./ledger/lost-leases.ts";
import type { NodeLedger } from "./ledger/node-ledger.ts";
import { RemoteCounters } from "./ledger/remote-counters.ts";
import { type IntakeEvents, type LedgerSink, UsageIntake } from "./ledger/usage-intake.ts";
import type { Registry } from "./nodes/registry.ts";
import { AddressChecks, type Reach } from "./peers/address-checks.ts";
import { ClientDesk, type RenewToken } from "./peers/client-desk.ts";
import { type Enrolling, NewcomerDesk } from "./peers/newcomer-desk.ts";
import { NodeDesk } from "./peers/node-desk.ts";
import { type Peer, type PeerConnection, type Way, isClient, isNode } from "./peers/peer.ts";
import { MAX_GREETING_BYTES, Reception } from "./peers/reception.ts";
import { Revocations } from "../protocol/tokens/revocation.ts";
import { QuotaDesk, type QuotaDeskOptions } from "./peers/quota-desk.ts";
import type { TokenCheck } from "./tokens/keys.ts";

export interface ManagerOptions {
  registry: Registry;
  ledger: LedgerSink;
  tokens: TokenCheck;
  /** Which tokens count no more. Default: none. */
  revocations?: Revocations | undefined;
  /** What users may hold in the whole cluster. Default: each node counts for itself. */
  quotas?: QuotaDeskOptions | undefined;
  /** Signs newer tokens for clients that may have them. Default: nothing does. */
  renewToken?: RenewToken | undefined;
  /** Issues the certificates of nodes. Left out, no node can enrol. */
  authority?: Enrolling | undefined;
  log(level: "info" | "warn", message: string): void;
  /** Where leases of lost nodes end, and after how long. Default: nowhere. */
  lost?: { ledger: OpenLeases; graceMs: number } | undefined;
  /** How it looks for a node at its address. Default: not at all. */
  reach?: Reach;
  /** Why it turns all peers away, as it stands by for another manager; undefined when it leads. Default: it leads. */
  standsBy?: () => string | undefined;
  /** The clock that measures silence. Default: the machine's. */
  clock?: Clock;
}

const TICK_MS = 100;

type PeerWire = Connection<ToManager, ManagerSays>;

export class Manager {
  readonly #reception: Reception;
  readonly #nodes: NodeDesk;
  readonly #clients: ClientDesk;
  readonly #intake: UsageIntake;
  readonly #counters: RemoteCounters;
  readonly #lost: LostLeases | undefined;
  readonly #unlisten: () => void;
  readonly #clock: Clock;
  readonly #standsBy: () => string | undefined;
  readonly #revocations: Revocations;
  /** Undefined where each node counts for itself. */
  readonly quotas: QuotaDesk | undefined;
  readonly #timers: Timer[];

  constructor({
    registry,
    ledger,
    tokens,
    revocations = new Revocations(),
    renewToken,
    quotas,
    authority,
    log,
    lost,
    reach,
    standsBy = () => undefined,
    clock = SYSTEM_CLOCK,
  }: ManagerOptions) {
    this.#clock = clock;
    this.#standsBy = standsBy;
    this.#revocations = revocations;
    const ledgerEvents: IntakeEvents = {
      ledger(problem) {
        if (problem === null) log("info", "the ledger can be written again");
        else log("warn", `the ledger cannot be written, nodes keep their bills: ${problem}`);
        nodes.tellLedger(problem);
      },
    };
    this.#intake = new UsageIntake(ledger, ledgerEvents, clock);
    const usage = (reports: readonly UsageReport[]) =>
      this.#intake.add(this.#nodes.plausible(reports), () => {});
    this.#counters = new RemoteCounters({ usage, log }, clock);
    this.#reception = new Reception(
      { tokens, standsBy, log, clock },
      {
        announced: (peer, announce) => nodes.announced(peer, announce),
        subscribed: (peer, viewer) => clients.subscribed(peer, viewer),
        enrols: (peer, enrol) => newcomers.asked(peer, enrol),
        said: (peer, message) => this.#heard(peer, message),
        gone(peer) {
          if (isNode(peer)) nodes.gone(peer);
          else if (isClient(peer)) clients.gone(peer);
        },
      },
    );
    const ca = authority?.fingerprint;
    const shared = { registry, tokens, reception: this.#reception, ca };
    this.#lost = lost && new LostLeases({ ...lost, log }, clock);
    const books = { intake: this.#intake, counters: this.#counters, lost: this.#lost };
    const checks = reach && new AddressChecks(reach, clock);
    this.quotas = quotas && new QuotaDesk(quotas, clock);
    const revoked = () => revocations.entries(clock.wallMs());
    const nodes = (this.#nodes = new NodeDesk({
      ...{ ...shared, ...books, checks, revoked, log, clock, quotas: this.quotas },
    }));
    const newcomers = new NewcomerDesk({ reception: this.#reception, authority, log });
    const clients = (this.#clients = new ClientDesk({
      ...shared,
      leases: () => this.leases(),
      ...{ renewToken, clock },
    }));
    this.#unlisten = registry.onChange((name) => {
      const state = registry.get(name)?.state;
      if (state !== "up" && state !== "draining") this.#intake.forget(name);
    });
    this.#timers = [
      clock.every(TICK_MS, () => this.#tick()),
      clock.every(ALIVE_INTERVAL_MS, () => this.#reception.sayAlive()),
    ];
  }

  /** How many connections are open. */
  get connectionCount(): number {
    return this.#reception.count;
  }

  get subscriberCount(): number {
    return this.#clients.count;
  }

  /** The newest report of each lease that goes on. */
  leases(): UsageReport[] {
    return this.#intake.leases();
  }

  /** How the usage of a node's leases comes in. */
  ledgerOf(name: string): NodeLedger {
    return this.#nodes.ledgerOf(name);
  }

  /** Asks a node to grant no more leases and to end those it has by the deadline. False when there is no such node. */
  drain(name: string, deadlineMs: number): boolean {
    return this.#nodes.drain(name, deadlineMs);
  }

  /** Lets a node serve again. False when there is no such node. */
  resume(name: string): boolean {
    return this.#nodes.resume(name);
  }

  /** Takes a node out of the cluster; it may still hand in its bills. False when there is no such node. */
  remove(name: string): boolean {
    return this.#nodes.remove(name);
  }

  /** Lets a node come again that was taken out, by its name or where it was found. Returns its name; undefined when none was. */
  readmit(text: string): string | undefined {
    return this.#nodes.readmit(text);
  }

  /** Why it stands by for another manager; undefined when it leads. */
  get standsBy(): string | undefined {
    return this.#standsBy();
  }

  /** It leads from now on: nodes that led a life without it have as long to come as after a start. */
  takeOver(): void {
    this.#intake.forgetAll();
    this.#lost?.beginAnew(this.#clock.nowMs());
    this.quotas?.beginAnew();
  }

  /** It does not lead any more: all that are connected look for the one that does. */
  stepDown(): void {
    this.#reception.closeAll();
  }

  /**
   * Other tokens are revoked than before: nodes hear of it, and who has shown one that is loses the connection. Returns how many nodes were
   * told, and the names of those whose version does not hear of it.
   */
  tellRevoked(): { told: number; deaf: string[] } {
    const told = this.#nodes.tellRevoked();
    this.#reception.dropRevoked(this.#revocations);
    return told;
  }

  /** Another key counts: all that are connected come again, with a token that is signed by it. */
  reconnectAll(): void {
    this.#reception.closeAll();
  }

  /** Saves what has come, and closes all connections. */
  close(): void {
    for (const timer of this.#timers) timer.clear();
    this.#counters.close();
    this.quotas?.close();
    this.#intake.flush();
    this.#unlisten();
    this.#clients.close();
    this.#reception.closeAll();
  }

  /**
   * A peer connects over `wire`, from an address, at one of ours. Returns the handler for the wire's events; undefined when there is
   * no room for another peer. `opened` names another wire, over the first one, to go on with.
   */
  connect(wire: Wire, way: Way): WireEvents | undefined {
    let connection: PeerWire | undefined;
    const open = (events: ConnectionEvents<ToManager>): PeerWire =>
      (connection = new Connection(toManagerVocabulary, events, MAX_GREETING_BYTES));
    const peer = this.#reception.connect(open, way);
    if (!peer || !connection) return undefined;
    connection.opened(wire);
    return {
      opened: (other) => connection?.opened(other),
      received: (bytes) => {
        if (this.#reception.mayRead(peer, bytes.length)) connection?.received(bytes);
      },
      drained: () => connection?.drained(),
      close: (error) => connection?.close(error),
    };
  }

  /** As {@link connect}, where whole messages come and go. */
  meet(open: (events: ConnectionEvents<ToManager>) => PeerConnection, way: Way): void {
    this.#reception.connect(open, way);
  }

  /** What a peer may say follows from what it is. */
  #heard(peer: Peer, message: ToManager): void {
    if (isNode(peer) && isOneOf(nodeToManager, message)) return this.#nodes.heard(message, peer);
    if (isClient(peer) && isOneOf(clientToManager, message))
      return this.#clients.heard(message, peer);
    const [who, done] = isNode(peer) ? ["node", "announced itself"] : ["client", "subscribed"];
    const problem = `a ${who} that has ${done} cannot say "${message.t}"; update the ${who}`;
    this.#reception.refuse(peer, "RFAAS_PROTOCOL", problem);
  }

  #tick(): void {
    const nowMs = this.#clock.nowMs();
    if (this.#standsBy() === undefined) {
      this.#nodes.tick(nowMs);
      this.#lost?.tick(nowMs);
    }
    this.#reception.tick(nowMs);
  }
}

/** The manager's process: the real {@link Manager}, with a ledger of the simulation. */
import type { ConnectionEvents } from "../../src/control/connection.ts";
import { Manager } from "../../src/manager/manager.ts";
import type { Registry } from "../../src/manager/nodes/registry.ts";
import type { PeerConnection } from "../../src/manager/peers/peer.ts";
import type { NodeInfo, ToManager, UsageReport } from "../../src/protocol/manager-messages.ts";
import { Actor } from "./actor.ts";
import { acknowledgesUnkept, newLedger, newRegistry, plantInQuotas, readsLedger } from "./bugs.ts";
import { ActorClock } from "./clock.ts";
import type { LedgerModel } from "./ledger.ts";
import { type Holding, NOTHING } from "../../src/lease/quota.ts";
import type { Message } from "./messages.ts";
import type { Socket, SocketEvents } from "./network.ts";
import type { World } from "./world.ts";

export class ManagerProcess extends Actor {
  ledger: LedgerModel;
  #registry: Registry;
  #manager: Manager | undefined;
  #keepsLedger = true;

  constructor(world: World) {
    super(world, "manager");
    this.ledger = newLedger(world.bug, 1);
    this.#registry = newRegistry(world.bug);
  }

  node(name: string): NodeInfo | undefined {
    return this.#registry.get(name);
  }

  nodes(): NodeInfo[] {
    return this.#registry.nodes();
  }

  /** The next start finds nothing of the state. */
  loseState(): void {
    this.#keepsLedger = false;
  }

  /** The batch system asks the manager to empty a node. */
  drain(name: string, deadlineMs: number): void {
    if (this.alive) this.#manager!.drain(name, deadlineMs);
  }

  /** Lets a node serve again. False when nobody by that name is known, or nobody is there to be told. */
  resume(name: string): boolean {
    return this.alive && this.#manager!.resume(name);
  }

  /** What it counts of a user. */
  holdingOf(user: string): Holding {
    return this.#manager?.quotas?.quotas.holdingOf(user).total ?? NOTHING;
  }

  accepted(socket: Socket): SocketEvents {
    const manager = this.#manager!;
    let pipe: MessagePipe;
    const open = (events: ConnectionEvents<ToManager>): PeerConnection =>
      (pipe = new MessagePipe(socket, events, this.ledger.number, new QuotaEar(this, this.world)));
    manager.meet(open, { reachedAt: "manager", comesFrom: socket.peer!.owner.name });
    return {
      received: (message) => pipe.received(message as ToManager),
      // One that is dead hears nothing.
      lost: () => {
        if (this.#manager === manager) pipe.close();
      },
    };
  }

  protected started(): void {
    const { world } = this;
    if (!this.#keepsLedger) this.ledger = newLedger(world.bug, this.ledger.number + 1);
    this.#keepsLedger = true;
    world.network.poweredOn(this);
    this.#registry = newRegistry(world.bug);
    const { operator } = world.quotas;
    world.quotas.starts();
    this.#manager = new Manager({
      registry: this.#registry,
      ledger: { record: (reports) => this.#record(reports) },
      tokens: {
        publicKey: null,
        check: () => Promise.resolve({ user: "all", maxCores: null, seesAll: true }),
      },
      log: (_, message) => world.trace.note(this.name, message),
      clock: new ActorClock(world, this),
      lost: {
        ledger: {
          live: () => this.ledger.live(),
          presumeEnded: (leases) => this.ledger.presumeEnded(leases),
        },
        graceMs: operator.graceMs,
      },
      quotas: operator.counts
        ? {
            limits: operator.tableOf(),
            usedCoreNs: (user) => this.ledger.total(user),
            open: () => (readsLedger(world.bug) ? this.ledger.live() : []),
            graceMs: operator.graceMs,
          }
        : undefined,
    });
    if (this.#manager.quotas) plantInQuotas(world.bug, this.#manager.quotas);
  }

  protected died(): void {
    this.#manager = undefined;
  }

  #record(reports: readonly UsageReport[]): void {
    const { ledger } = this;
    const { witness } = this.world;
    if (ledger.full && acknowledgesUnkept(this.world.bug)) return;
    if (ledger.full) throw new Error("no space left on device");
    for (const report of reports) ledger.record(report);
    try {
      witness.checkRows(
        ledger,
        reports.map(({ lease }) => lease),
      );
      witness.checkTotals(ledger, new Set(reports.map(({ user }) => user)));
    } catch (error) {
      // The manager would take it for a disk that fails.
      this.world.failed(error);
    }
  }
}

/** The manager's end of a connection: whole messages instead of frames. */
class MessagePipe implements PeerConnection {
  readonly #socket: Socket;
  readonly #events: ConnectionEvents<ToManager>;
  readonly #ledger: number;
  readonly #ear: QuotaEar;
  #held = false;
  #over = false;
  readonly #waiting: ToManager[] = [];

  constructor(socket: Socket, events: ConnectionEvents<ToManager>, ledger: number, ear: QuotaEar) {
    this.#ear = ear;
    this.#socket = socket;
    this.#events = events;
    this.#ledger = ledger;
  }

  send(message: Message): void {
    const { t } = message;
    this.#ear.says(message);
    this.#socket.send(t === "report-usage-reply" ? { ...message, ledger: this.#ledger } : message);
  }

  close(error?: Error): void {
    if (this.#over) return;
    this.#over = true;
    this.#socket.close();
    this.#ear.closes();
    this.#events.closed(error);
  }

  trust(): void {}

  hold(): void {
    this.#held = true;
  }

  resume(): void {
    this.#held = false;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) {
      this.received(next);
      if (this.#held) return;
    }
  }

  received(message: ToManager): void {
    if (this.#over) return;
    if (this.#held) return void this.#waiting.push(message);
    this.#ear.hears(message);
    this.#events.message(message);
  }
}

/** Tells the witness what the manager hears of leases, and says. */
class QuotaEar {
  readonly #manager: ManagerProcess;
  readonly #world: World;
  #announced: string | undefined;
  /** The node, once it is accepted. */
  #instance: string | undefined;
  /** Which lease each question is about. */
  readonly #asked = new Map<number, number>();

  constructor(manager: ManagerProcess, world: World) {
    this.#manager = manager;
    this.#world = world;
  }

  hears(message: ToManager): void {
    if (message.t === "announce") this.#announced = message.settling ? undefined : message.instance;
    else if (message.t === "reserve") this.#asked.set(message.id, message.lease);
    else if (message.t === "holdings" && this.#instance !== undefined)
      for (const { lease } of message.leases)
        this.#world.quotas.counts(this.#instance, lease, false);
  }

  says(message: Message): void {
    const { quotas } = this.#world;
    if (message.t === "accepted" && this.#announced !== undefined) {
      this.#instance = this.#announced;
      quotas.came(this.#instance);
    } else if (message.t === "reserve-reply" && this.#instance !== undefined)
      quotas.counts(this.#instance, this.#asked.get(message.id)!, true);
    else if (message.t === "quota") quotas.said(message, (user) => this.#manager.holdingOf(user));
  }

  closes(): void {
    if (this.#instance !== undefined) this.#world.quotas.went(this.#instance);
    this.#instance = undefined;
  }
}

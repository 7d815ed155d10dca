/** The manager: the real {@link Registry} and {@link Subscribers}, and a ledger. */
import { Registry, type Session } from "../../src/manager/nodes/registry.ts";
import { Subscribers } from "../../src/manager/nodes/subscribers.ts";
import {
  ALIVE_INTERVAL_MS,
  type Announce,
  type NodeInfo,
  type ToManager,
  type UsageReport,
} from "../../src/protocol/manager-messages.ts";
import { Actor } from "./actor.ts";
import { newLedger } from "./bugs.ts";
import { ActorClock } from "./clock.ts";
import type { LedgerModel } from "./ledger.ts";
import type { Saved } from "./messages.ts";
import type { Socket, SocketEvents } from "./network.ts";
import { MS, type World } from "./world.ts";

const TICK_MS = 250;

export class Manager extends Actor {
  ledger: LedgerModel;
  #clock: ActorClock;
  #registry = new Registry();
  #subscribers: Subscribers;
  /** Those of clients. */
  #listeners = new Set<Socket>();
  /** Nodes that may hand in bills; with a session, those that are in the cluster. */
  #nodes = new Map<Socket, Session | undefined>();
  #bySession = new Map<Session, Socket>();
  #keepsLedger = true;

  constructor(world: World) {
    super(world, "manager");
    this.ledger = newLedger(world.bug, 1);
    this.#clock = new ActorClock(world, this);
    this.#subscribers = new Subscribers(this.#registry, this.#clock);
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

  /** Its disk is full, or has room again. */
  fill(full: boolean): void {
    this.ledger.full = full;
    if (this.alive) for (const socket of this.#nodes.keys()) this.#sayLedger(socket);
  }

  /** The batch system asks the manager to empty a node. */
  drain(name: string, deadlineMs: number): void {
    if (!this.alive) return;
    this.#registry.drain(name, deadlineMs, this.#clock.nowMs());
    this.#sayWish(name);
  }

  /** Lets a node serve again. False when nobody by that name is known, or nobody is there to be told. */
  resume(name: string): boolean {
    if (!this.alive || !this.#registry.resume(name)) return false;
    this.#sayWish(name);
    return true;
  }

  accepted(socket: Socket): SocketEvents {
    return {
      received: (message) => this.#received(socket, message as ToManager),
      lost: () => this.#lost(socket),
    };
  }

  protected started(): void {
    if (!this.#keepsLedger) this.ledger = newLedger(this.world.bug, this.ledger.number + 1);
    this.#keepsLedger = true;
    this.#clock = new ActorClock(this.world, this);
    this.#registry = new Registry();
    this.#subscribers = new Subscribers(this.#registry, this.#clock);
    this.#listeners = new Set();
    this.#nodes = new Map();
    this.#bySession = new Map();
    this.world.network.poweredOn(this);
    this.#clock.every(TICK_MS, () => {
      for (const session of this.#registry.tick(this.#clock.nowMs())) this.#drop(session);
    });
    this.#clock.every(ALIVE_INTERVAL_MS, () => {
      for (const socket of [...this.#nodes.keys(), ...this.#listeners]) socket.send({ t: "alive" });
    });
  }

  protected died(): void {}

  #received(socket: Socket, said: ToManager): void {
    const session = this.#nodes.get(socket);
    if (session !== undefined) this.#registry.heard(session, this.#clock.nowMs());
    switch (said.t) {
      case "announce":
        return this.#announced(socket, said);
      case "capacity":
        if (session !== undefined) this.#registry.report(session, said, this.#clock.nowMs());
        return;
      case "leaving":
        if (session === undefined) return;
        this.#nodes.set(socket, undefined);
        this.#bySession.delete(session);
        return this.#registry.leave(session);
      case "report-usage":
        return this.#record(socket, said.id, said.reports);
      case "subscribe":
        this.#listeners.add(socket);
        return this.#subscribers.add(socket);
    }
  }

  #lost(socket: Socket): void {
    this.#listeners.delete(socket);
    this.#subscribers.delete(socket);
    const session = this.#nodes.get(socket);
    this.#nodes.delete(socket);
    if (session === undefined) return;
    this.#bySession.delete(session);
    this.#registry.lost(session, this.#clock.nowMs());
  }

  #announced(socket: Socket, said: Announce): void {
    const { name } = said;
    if (said.settling) {
      this.#nodes.set(socket, undefined);
      return socket.send({ t: "accepted", name, publicKey: null });
    }
    const answer = this.#registry.announce(said, this.#clock.nowMs());
    if (answer.kind === "refused") {
      socket.send({ t: "refused", code: answer.code, message: answer.message });
      return socket.close();
    }
    const { session, replaced } = answer;
    if (replaced !== undefined) this.#drop(replaced);
    this.#nodes.set(socket, session);
    this.#bySession.set(session, socket);
    socket.send({ t: "accepted", name, publicKey: null });
    this.#sayLedger(socket);
    this.#sayWish(name);
  }

  #sayLedger(socket: Socket): void {
    socket.send({ t: "ledger", problem: this.ledger.full ? "no space left on device" : null });
  }

  #sayWish(name: string): void {
    const session = this.#registry.sessionOf(name);
    const socket = session === undefined ? undefined : this.#bySession.get(session);
    const deadlineMs = this.#registry.drainLeftMs(name, this.#clock.nowMs());
    if (deadlineMs !== undefined) socket?.send({ t: "drain", deadlineMs });
    else if (this.#registry.isResumed(name)) socket?.send({ t: "resume" });
  }

  /** Closes a connection whose session the registry has given up. */
  #drop(session: Session): void {
    const socket = this.#bySession.get(session);
    this.#bySession.delete(session);
    if (!socket) return;
    this.#nodes.delete(socket);
    socket.close();
  }

  /** Acknowledged is what is on the disk, and a kill may come between the two. */
  #record(socket: Socket, id: number, reports: readonly UsageReport[]): void {
    const { random, witness } = this.world;
    if (!this.#nodes.has(socket)) return;
    this.after(random.between(100_000, 20 * MS), "writes bills", () => {
      const { ledger } = this;
      if (ledger.full) return;
      for (const report of reports) ledger.record(report);
      witness.checkRows(
        ledger,
        reports.map(({ lease }) => lease),
      );
      witness.checkTotals(ledger, new Set(reports.map(({ user }) => user)));
      const saved: Saved = { t: "report-usage-reply", id, ledger: ledger.number, reports };
      if (random.chance(0.7)) return socket.send(saved);
      this.after(random.between(0, 2 * MS), "acknowledges bills", () => socket.send(saved));
    });
  }
}

/** The manager: the real {@link Registry}, subscribers that are told what changes, and the ledger. */
import { Registry, type Session } from "../../src/manager/nodes/registry.ts";
import type { NodeInfo, UsageReport } from "../../src/protocol/manager-messages.ts";
import { Actor } from "./actor.ts";
import { newLedger } from "./bugs.ts";
import type { LedgerModel } from "./ledger.ts";
import type { Message, ToManager } from "./messages.ts";
import type { Socket } from "./network.ts";
import { MS, type World } from "./world.ts";

const TICK_NS = 250 * MS;
const PUSH_DELAY_NS = 60 * MS;

export class Manager extends Actor {
  ledger: LedgerModel;
  #registry = new Registry();
  /** Nodes that may hand in bills; with a session, those that are in the cluster. */
  #nodes = new Map<Socket, Session | undefined>();
  #bySession = new Map<Session, Socket>();
  #subscribers = new Set<Socket>();
  #changed = new Set<string>();
  #pushPlanned = false;
  #keepsLedger = true;

  constructor(world: World) {
    super(world, "manager");
    this.ledger = newLedger(world.bug, 1);
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
    if (!this.alive) return;
    this.#registry.drain(name, deadlineMs, this.#nowMs());
    this.#sayWish(name);
  }

  /** Lets a node serve again. False when nobody by that name is known, or nobody is there to be told. */
  resume(name: string): boolean {
    if (!this.alive || !this.#registry.resume(name)) return false;
    this.#sayWish(name);
    return true;
  }

  accepted(): void {}

  received(socket: Socket, message: Message): void {
    const said = message as ToManager;
    const session = this.#nodes.get(socket);
    if (session !== undefined) this.#registry.heard(session, this.#nowMs());
    switch (said.t) {
      case "announce":
        return this.#announced(socket, said);
      case "capacity":
        if (session !== undefined) this.#registry.report(session, said.capacity, this.#nowMs());
        return;
      case "leaving":
        if (session === undefined) return;
        this.#nodes.set(socket, undefined);
        this.#bySession.delete(session);
        return this.#registry.leave(session);
      case "usage":
        return this.#record(socket, said.batch, said.reports);
      case "subscribe":
        this.#subscribers.add(socket);
        return socket.send({ t: "nodes", nodes: this.#registry.nodes() });
    }
  }

  lost(socket: Socket): void {
    this.#subscribers.delete(socket);
    const session = this.#nodes.get(socket);
    this.#nodes.delete(socket);
    if (session === undefined) return;
    this.#bySession.delete(session);
    this.#registry.lost(session, this.#nowMs());
  }

  protected started(): void {
    if (!this.#keepsLedger) this.ledger = newLedger(this.world.bug, this.ledger.number + 1);
    this.#keepsLedger = true;
    this.#registry = new Registry();
    this.#nodes = new Map();
    this.#bySession = new Map();
    this.#subscribers = new Set();
    this.#changed = new Set();
    this.#pushPlanned = false;
    this.#registry.onChange((name) => this.#push(name));
    this.world.network.poweredOn(this);
    this.#tick();
  }

  protected died(): void {}

  #nowMs(): number {
    return this.world.schedule.nowNs / MS;
  }

  #announced(
    socket: Socket,
    { announcement, settling }: Extract<ToManager, { t: "announce" }>,
  ): void {
    if (settling) {
      this.#nodes.set(socket, undefined);
      return socket.send({ t: "accepted" });
    }
    const answer = this.#registry.announce(announcement, this.#nowMs());
    if (answer.kind === "refused") {
      socket.send({ t: "refused", code: answer.code });
      return socket.close();
    }
    const { session, replaced } = answer;
    if (replaced !== undefined) this.#drop(replaced);
    this.#nodes.set(socket, session);
    this.#bySession.set(session, socket);
    socket.send({ t: "accepted" });
    this.#sayWish(announcement.name);
  }

  #sayWish(name: string): void {
    const session = this.#registry.sessionOf(name);
    const socket = session === undefined ? undefined : this.#bySession.get(session);
    const deadlineMs = this.#registry.drainLeftMs(name, this.#nowMs());
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
  #record(socket: Socket, batch: number, reports: readonly UsageReport[]): void {
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
      this.after(random.between(0, 2 * MS), "acknowledges bills", () =>
        socket.send({ t: "usage-saved", batch, ledger: ledger.number }),
      );
    });
  }

  #push(name: string): void {
    this.#changed.add(name);
    if (this.#pushPlanned || this.#subscribers.size === 0) return;
    this.#pushPlanned = true;
    this.after(PUSH_DELAY_NS, "tells its subscribers", () => {
      this.#pushPlanned = false;
      const names = [...this.#changed];
      this.#changed.clear();
      const known = names.map((one) => this.#registry.get(one));
      const nodes = known.filter((info) => info !== undefined);
      const gone = names.filter((_, i) => !known[i]);
      for (const socket of this.#subscribers) socket.send({ t: "nodes-changed", nodes, gone });
    });
  }

  /** Heartbeats are no messages here: whoever could send one has. */
  #tick(): void {
    const { network } = this.world;
    const now = this.#nowMs();
    for (const [session, socket] of this.#bySession) {
      const { owner, open } = socket.peer;
      if (open && owner.alive && !owner.paused && !network.blocked(this, owner))
        this.#registry.heard(session, now);
    }
    for (const session of this.#registry.tick(now)) this.#drop(session);
    this.after(TICK_NS, "looks for silent nodes", () => this.#tick());
  }
}

/** A node's side of its connection to the manager: says what is free, hands in bills until they are acknowledged. */
import type { UsageReport } from "../../src/protocol/manager-messages.ts";
import type { Manager } from "./manager.ts";
import type { ToNode } from "./messages.ts";
import type { Socket } from "./network.ts";
import type { ExecutorNode } from "./node.ts";
import { MS, S, type World } from "./world.ts";

const RETRY_NS = 300 * MS;
const ACKNOWLEDGEMENT_LIMIT_NS = 1 * S;
/** Reports wait so long for others. */
const FLUSH_DELAY_NS = 80 * MS;
const CAPACITY_DELAY_NS = 20 * MS;

export class Reporter {
  readonly #world: World;
  readonly #node: ExecutorNode;
  readonly #manager: Manager;
  /** The last report of each lease that is not acknowledged. */
  #pending = new Map<string, UsageReport>();
  #socket: Socket | undefined;
  #accepted = false;
  #sent: { batch: number; reports: readonly UsageReport[] } | undefined;
  #nextBatch = 1;
  #flushPlanned = false;
  #capacityPlanned = false;

  constructor(world: World, node: ExecutorNode, manager: Manager) {
    this.#world = world;
    this.#node = node;
    this.#manager = manager;
  }

  get empty(): boolean {
    return this.#pending.size === 0;
  }

  start(): void {
    this.#connect();
  }

  /** The process is dead. Returns the leases whose last report is lost with it. */
  stop(): string[] {
    const lost = [...this.#pending.keys()];
    this.#pending = new Map();
    this.#socket = undefined;
    this.#accepted = false;
    this.#sent = undefined;
    this.#flushPlanned = false;
    this.#capacityPlanned = false;
    return lost;
  }

  report(report: UsageReport): void {
    this.#pending.set(report.lease, report);
    if (this.#flushPlanned) return;
    this.#flushPlanned = true;
    this.#node.after(FLUSH_DELAY_NS, "hands in bills", () => {
      this.#flushPlanned = false;
      if (!this.#sent) this.#flush();
    });
  }

  capacityChanged(): void {
    if (this.#capacityPlanned || !this.#accepted) return;
    this.#capacityPlanned = true;
    this.#node.after(CAPACITY_DELAY_NS, "says what is free", () => {
      this.#capacityPlanned = false;
      this.#sayCapacity();
    });
  }

  leave(): void {
    this.#socket?.send({ t: "leaving" });
  }

  received(socket: Socket, said: ToNode): void {
    if (socket !== this.#socket) return;
    switch (said.t) {
      case "accepted":
        this.#accepted = true;
        this.#sayCapacity();
        return this.#flush();
      case "refused":
        this.#world.trace.note(this.#node.name, "is refused:", said.code);
        return;
      case "usage-saved": {
        if (this.#sent?.batch !== said.batch) return;
        const { reports } = this.#sent;
        this.#sent = undefined;
        // A report that has been replaced since is not in the ledger.
        for (const report of reports)
          if (this.#pending.get(report.lease) === report) {
            this.#pending.delete(report.lease);
            if (report.endedAtMs !== null)
              this.#world.witness.leases.get(report.lease)!.settledIn = said.ledger;
          }
        this.#flush();
        return this.#node.acknowledged();
      }
    }
  }

  lost(socket: Socket): void {
    if (socket !== this.#socket) return;
    this.#socket = undefined;
    this.#accepted = false;
    this.#sent = undefined;
    this.#node.after(RETRY_NS, "tries again", () => this.#connect());
  }

  #connect(): void {
    const node = this.#node;
    this.#world.network.connect(
      node,
      this.#manager,
      (socket) => {
        this.#socket = socket;
        socket.send({
          t: "announce",
          settling: node.leaving,
          announcement: {
            name: node.name,
            instance: node.instance,
            address: node.name,
            cores: node.cores,
            memoryBytes: node.memoryBytes,
            fabrics: [],
            machine: node.name,
            version: "",
          },
        });
      },
      () => node.after(RETRY_NS, "tries again", () => this.#connect()),
    );
  }

  #sayCapacity(): void {
    const { freeCores, freeMemoryBytes, leaseCount, draining } = this.#node;
    const capacity = { freeCores, freeMemoryBytes, leases: leaseCount, draining };
    this.#socket?.send({ t: "capacity", capacity });
  }

  #flush(): void {
    if (!this.#socket || !this.#accepted || this.#pending.size === 0) return;
    const socket = this.#socket;
    const batch = this.#nextBatch++;
    this.#sent = { batch, reports: [...this.#pending.values()] };
    socket.send({ t: "usage", ...this.#sent });
    this.#node.after(ACKNOWLEDGEMENT_LIMIT_NS, "hands in bills again", () => {
      if (this.#sent?.batch === batch) this.#flush();
    });
  }
}

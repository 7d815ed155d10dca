/** Keeps the manager informed about a node: what is free, what leases cost; does what the manager asks. */
import { machineId } from "../../control/machine.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";
import type { Agent, LeaseBill } from "../agent/agent.ts";
import type { Doorkeeper } from "../admission/identity.ts";
import { ManagerLink } from "./manager-link.ts";

export interface BookkeeperOptions {
  /** `HOST:PORT` or a socket path. */
  manager: string;
  /** Unique in the cluster. */
  name: string;
  /** Where clients find the node. */
  address: string;
  memoryBytes: number;
  fabrics: string[];
  /** How long leases may go on when the manager removes the node. */
  removalLimitMs: number;
  log(level: "info" | "warn", message: string): void;
}

export class Bookkeeper {
  /** Another one at each start: leases of different lives of a node are different leases. */
  readonly #instance = crypto.randomUUID();
  readonly #name: string;
  readonly #link: ManagerLink;

  /** Throws {@link UsageError} when `manager` is no address. */
  constructor(agent: Agent, doorkeeper: Doorkeeper, options: BookkeeperOptions) {
    const { manager, name, address, memoryBytes, fabrics, removalLimitMs, log } = options;
    this.#name = name;
    this.#link = new ManagerLink({
      manager,
      announce: {
        name,
        instance: this.#instance,
        address,
        cores: agent.cores,
        memoryBytes,
        fabrics,
        machine: machineId(),
        token: process.env["RFAAS_TOKEN"] || null,
      },
      events: {
        drain(deadlineMs) {
          log("info", `the manager drains this node: leases end within ${deadlineMs / 1000} s`);
          agent.revoke(deadlineMs);
        },
        resume() {
          if (agent.draining) log("info", "the manager lets this node grant leases again");
          agent.resume();
        },
        removed() {
          log("warn", "the manager has removed this node; it grants no more leases");
          agent.revoke(removalLimitMs);
        },
        key(publicKey) {
          if (publicKey !== null) doorkeeper.useKey(publicKey, "the manager's key");
        },
        ledger(problem) {
          agent.refuse(
            problem === null
              ? null
              : `the manager cannot keep the bill (${problem}); try again when its disk has room`,
          );
        },
        log,
      },
    });
    const tellCapacity = (): void => {
      const { cores, memoryBytes: freeMemoryBytes } = agent.free;
      const { leaseCount: leases, draining } = agent;
      this.#link.capacity({ freeCores: cores, freeMemoryBytes, leases, draining });
    };
    tellCapacity();
    agent.watch({
      capacity: tellCapacity,
      usage: (bill) => this.#link.usage([this.#report(bill)]),
    });
  }

  /** Hands in what is left, and says goodbye. Never rejects. */
  async leave(): Promise<void> {
    await this.#link.leave();
  }

  #report(bill: LeaseBill): UsageReport {
    const { lease, user, workers, coresPerWorker, startedAtMs, usage, ended } = bill;
    return {
      lease: `${this.#instance}/${lease}`,
      node: this.#name,
      user,
      workers,
      ...(coresPerWorker === 1 ? {} : { coresPerWorker }),
      startedAtMs,
      endedAtMs: ended?.atMs ?? null,
      reason: ended?.reason ?? null,
      usage,
    };
  }
}

/** What goes wrong, and the batch system that wants nodes back: planned ahead from the seed, another mixture for each. */
import type { Actor } from "./actor.ts";
import type { Client } from "./client.ts";
import type { ManagerProcess } from "./manager.ts";
import { someLimits } from "./quotas/operator.ts";
import type { ExecutorNode } from "./node.ts";
import { MS, S, type World } from "./world.ts";

export interface Roles {
  nodes: readonly ExecutorNode[];
  clients: readonly Client[];
  manager: ManagerProcess;
}

const KINDS = [
  "kill-agent",
  "power-off",
  "stop-agent",
  "kill-host",
  "kill-manager",
  "stop-manager",
  "empty-manager",
  "kill-client",
  "power-off-client",
  "stop-client",
  "break-connection",
  "partition",
  "drain",
  "leave",
  "full-disk",
  "congestion",
  "change-limits",
] as const;
type Kind = (typeof KINDS)[number];

/** The first faults come when the first leases are there. */
const FIRST_NS = 300 * MS;
const MAX_FAULTS = 40;
const RESUME_INTERVAL_NS = 500 * MS;

export class Faults {
  readonly #world: World;
  readonly #roles: Roles;
  readonly #untilNs: number;
  /** Partitions that are not healed. */
  readonly #heals = new Set<() => void>();
  #over = false;

  constructor(world: World, roles: Roles, untilNs: number) {
    this.#world = world;
    this.#roles = roles;
    this.#untilNs = untilNs;
  }

  /** Few kinds at a time meet more often than all kinds together. */
  plan(): void {
    const { random, schedule } = this.#world;
    const share = random.fraction();
    const kinds = KINDS.filter(() => random.chance(share));
    if (kinds.length === 0) return;
    for (let left = random.between(0, MAX_FAULTS); left > 0; left--) {
      const kind = random.pick(kinds);
      const atNs = random.between(FIRST_NS, this.#untilNs);
      schedule.plan(atNs, "fault", kind, () => this.#happen(kind));
    }
  }

  /** Nothing goes wrong from now on: what is split is healed, what drains serves again. */
  end(): void {
    const { nodes, manager } = this.#roles;
    this.#over = true;
    for (const heal of this.#heals) heal();
    this.#world.network.slowShare = 0.03;
    manager.ledger.full = false;
    for (const node of nodes) this.#resume(node);
  }

  #happen(kind: Kind): void {
    const { random, network } = this.#world;
    const { clients, manager } = this.#roles;
    switch (kind) {
      case "kill-agent":
        return this.#restart(this.#busyNode(), false);
      case "power-off":
        return this.#restart(this.#busyNode(), true);
      case "stop-agent":
        return this.#busyNode().pause(random.between(10 * MS, 4 * S));
      case "kill-host":
        return this.#busyNode().killHost();
      case "empty-manager":
        manager.loseState();
        return this.#restart(manager, random.chance(0.2));
      case "kill-manager":
        return this.#restart(manager, random.chance(0.2));
      case "stop-manager":
        return manager.pause(random.between(10 * MS, 3 * S));
      case "change-limits":
        return this.#changeLimits();
      case "kill-client":
        return this.#restart(random.pick(clients), false);
      case "power-off-client":
        return this.#restart(random.pick(clients), true);
      case "stop-client":
        return random.pick(clients).pause(random.between(100 * MS, 6 * S));
      case "break-connection":
        return network.breakOne();
      case "partition":
        return this.#partition();
      case "drain":
        return this.#drain(this.#busyNode());
      case "leave":
        return this.#leave(this.#busyNode());
      case "full-disk":
        manager.ledger.full = true;
        return this.#later(random.between(50 * MS, 2 * S), "has room again", () => {
          manager.ledger.full = false;
        });
      case "congestion":
        network.slowShare = random.fraction();
        return this.#later(random.between(100 * MS, 2 * S), "is fast again", () => {
          network.slowShare = 0.03;
        });
    }
  }

  /** A node with leases, mostly: there a fault can do harm. */
  #busyNode(): ExecutorNode {
    const { random } = this.#world;
    const { nodes } = this.#roles;
    for (let tries = 0; tries < 30; tries++) {
      const node = random.pick(nodes);
      if (node.leaseCount > 0) return node;
    }
    return random.pick(nodes);
  }

  #restart(actor: Actor, silently: boolean): void {
    actor.kill(silently);
    this.#later(this.#world.random.between(20 * MS, 4 * S), "starts again", () => actor.start());
  }

  #leave(node: ExecutorNode): void {
    node.leave();
    if (this.#world.random.chance(0.5)) this.#later(3 * S, "comes back", () => node.start());
  }

  #changeLimits(): void {
    const { random, quotas, trace } = this.#world;
    const { user } = random.pick(this.#roles.clients);
    trace.note("operator", "changes the limits of", user);
    quotas.operator.set(user, random.chance(0.2) ? undefined : someLimits(random));
  }

  #partition(): void {
    const { random, network, trace } = this.#world;
    const { nodes, clients, manager } = this.#roles;
    const share = random.fraction();
    const island = new Set<Actor>(
      [...nodes, ...clients, manager].filter(() => random.chance(share)),
    );
    trace.note("network", "is split; the island has", island.size);
    const mend = network.partition(island);
    const heal = (): void => {
      if (!this.#heals.delete(heal)) return;
      trace.note("network", "is whole again");
      mend();
    };
    this.#heals.add(heal);
    this.#later(random.between(50 * MS, 5 * S), "heals", heal);
  }

  #drain(node: ExecutorNode): void {
    const { random } = this.#world;
    const { manager } = this.#roles;
    const deadlineMs = random.between(0, 3000);
    if (random.chance(0.5)) manager.drain(node.name, deadlineMs);
    else node.revoke(deadlineMs);
    if (random.chance(0.3))
      this.#later(random.between(0, 2 * S), "drains again", () => {
        if (!this.#over) node.revoke(100);
      });
    this.#later(random.between(50 * MS, 5 * S), "serves again", () => this.#resume(node));
  }

  /** Says it again for as long as the manager does not know the node: what it was told before it was killed is lost. */
  #resume(node: ExecutorNode): void {
    const known = this.#roles.manager.resume(node.name);
    node.resume();
    if (known) return;
    this.#later(RESUME_INTERVAL_NS, "asks the manager again", () => {
      if (node.alive && !node.leaving) this.#resume(node);
    });
  }

  #later(delayNs: number, what: string, run: () => void): void {
    const { schedule } = this.#world;
    schedule.plan(schedule.nowNs + delayNs, "repair", what, run);
  }
}

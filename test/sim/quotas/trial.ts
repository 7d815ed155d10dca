/**
 * Nothing fails, and a user whose quota is less than the nodes have asks many nodes at once: while the manager is there, while it is away,
 * and while it comes back. No quota is overshot, what is within it is granted, and what is not is refused for that.
 */
import { type Holding, type Limits, crossed, strictest } from "../../../src/lease/quota.ts";
import { LeaseRefused } from "../../../src/base/errors.ts";
import type { Client } from "../client.ts";
import type { Roles } from "../faults.ts";
import type { HeldLease } from "../held-lease.ts";
import type { ExecutorNode } from "../node.ts";
import { MS, S, type World, violated } from "../world.ts";

/** From when limits change, or leases end, to when all nodes have heard of it. */
const TOLD_NS = 300 * MS;
/** The longest that a node takes to answer. */
const ANSWER_NS = 700 * MS;
/** For how long the manager is away, and how long nodes then take at most to find it again. */
const AWAY_NS = 2 * S;
const FOUND_NS = 3 * S;
/** Longer than nodes wait for its word. */
const SLOW_NS = 500 * MS;
const MAX_NODES = 6;
const USED_UP_NS = 2 * S;
/** By when leases are over of a user without core-hours. */
const OVER_NS = 3 * S;

interface Asked {
  workers: number;
  answer: HeldLease | Error | undefined;
}

export class QuotaTrial {
  readonly #world: World;
  readonly #roles: Roles;
  readonly #pass: (ns: number) => void;
  readonly #nodes: ExecutorNode[];
  readonly #client: Client | undefined;

  constructor(world: World, roles: Roles, pass: (ns: number) => void) {
    this.#world = world;
    this.#roles = roles;
    this.#pass = pass;
    const there = roles.nodes.filter((node) => node.alive && !node.paused && !node.leaving);
    this.#nodes = there.slice(0, MAX_NODES);
    this.#client = roles.clients.find(({ alive }) => alive);
  }

  run(): void {
    const { random, quotas } = this.#world;
    const client = this.#client;
    const cores = this.#nodes.reduce((sum, node) => sum + node.cores, 0);
    if (!client || this.#nodes.length === 0) return;
    for (const node of this.#nodes) node.behave();
    this.#setLimits(client, { maxCores: random.between(1, cores) });
    quotas.strict = true;
    this.#askAll(client, "its manager is there");
    this.#releaseSome(client);
    this.#whileAway(client);
    client.releaseAll();
    this.#pass(TOLD_NS);
    quotas.strict = false;
    this.#whileSlow(client);
    if (random.chance(0.3)) this.#useUp(client);
  }

  /** The manager is killed, and comes back. */
  #whileAway(client: Client): void {
    const { random } = this.#world;
    const { manager } = this.#roles;
    manager.kill(random.chance(0.3));
    this.#pass(random.between(0, AWAY_NS));
    const there = (): ExecutorNode[] => this.#nodes.filter((node) => node.hasManager);
    if (random.chance(0.5)) {
      this.#askAll(client, undefined);
      this.#releaseSome(client);
      manager.start();
    } else {
      manager.start();
      for (let ns = 0; ns < FOUND_NS && there().length === 0; ns += 10 * MS) this.#pass(10 * MS);
      // It has not heard of the others, and knows by its ledger what they hold.
      this.#askAll(client, undefined, there());
    }
    this.#pass(FOUND_NS);
    this.#askAll(client, "its manager is back");
  }

  /** The manager stops before it has told other nodes of a grant: these may give too much, and it counts that. */
  #whileSlow(client: Client): void {
    const { random, quotas } = this.#world;
    const { manager } = this.#roles;
    const [first, ...others] = this.#nodes;
    this.#ask(client, [[first!, first!.cores]], random.between(1 * MS, 12 * MS));
    manager.pause(SLOW_NS);
    const all = others.map((node): [ExecutorNode, number] => [node, random.between(1, node.cores)]);
    this.#ask(client, all, SLOW_NS + TOLD_NS);
    quotas.check((user) => manager.holdingOf(user));
    client.releaseAll();
    this.#pass(TOLD_NS);
  }

  /** Leases end when core-hours do, and there are no others. */
  #useUp(client: Client): void {
    const { manager } = this.#roles;
    const { user } = client;
    const [node] = this.#nodes;
    if (crossed(client.claims, this.#heldBy(user), { cores: 1, memoryBytes: 0, leases: 1 })) return;
    const used = manager.ledger.total(user);
    const hours = (used + USED_UP_NS) / 3600e9;
    this.#setLimits(client, { coreHours: { hours, period: "month" } });
    for (const { answer } of this.#ask(client, [[node!, 1]]))
      if (answer instanceof Error)
        violated(`${user} has core-hours, and is refused: ${answer.message}`);
    this.#pass(USED_UP_NS + OVER_NS);
    if (this.#heldBy(user).cores > 0) violated(`${user} has no core-hours left, and holds cores`);
    for (const asked of this.#ask(client, [[node!, 1]])) {
      if (!(asked.answer instanceof Error)) violated(`${user} gets a lease without core-hours`);
      this.#isForQuota(client, asked);
    }
  }

  #setLimits({ user }: Client, limits: Limits): void {
    this.#world.quotas.operator.set(user, limits);
    this.#pass(TOLD_NS);
  }

  /** Asks all nodes at once for all that they have. With the manager `there` exactly what would cross the quota is refused. */
  #askAll(client: Client, there: string | undefined, nodes = this.#nodes): void {
    const { random } = this.#world;
    const wanted = nodes.flatMap((node): [ExecutorNode, number][] => {
      const { cores } = node.free;
      if (cores === 0) return [];
      const workers = random.between(1, cores);
      return [[node, workers] as [ExecutorNode, number], [node, cores - workers]];
    });
    const all = this.#ask(
      client,
      wanted.filter(([, workers]) => workers > 0),
    );
    const held = this.#heldBy(client.user);
    for (const asked of all) {
      this.#isForQuota(client, asked);
      const { workers, answer } = asked;
      const more = { cores: workers, memoryBytes: 0, leases: 1 };
      if (there !== undefined && answer instanceof Error)
        if (!crossed(this.#limitsOf(client), held, more))
          violated(`${there}, and ${client.user} is refused ${workers} cores within its quota`);
    }
  }

  #ask(
    client: Client,
    wanted: readonly [ExecutorNode, number][],
    forNs: number = ANSWER_NS,
  ): Asked[] {
    const all = wanted.map(([node, workers]) => {
      const asked: Asked = { workers, answer: undefined };
      client.ask(node, workers, (answer) => {
        asked.answer = answer;
      });
      return asked;
    });
    this.#pass(forNs);
    if (forNs >= ANSWER_NS && all.some(({ answer }) => answer === undefined))
      violated(`${client.user} has no answer to its request for a lease`);
    return all;
  }

  /** Nothing else stands in the way. */
  #isForQuota({ user }: Client, { answer }: Asked): void {
    if (!(answer instanceof Error)) return;
    if (!(answer instanceof LeaseRefused) || answer.code !== "RFAAS_TOKEN_LIMIT")
      violated(`${user} was refused for something else than its quota: ${answer.message}`);
  }

  #releaseSome(client: Client): void {
    const { random } = this.#world;
    client.release(() => random.chance(0.5));
    this.#pass(TOLD_NS);
  }

  #limitsOf({ user, claims }: Client): Limits {
    return strictest(this.#world.quotas.operator.limitsOf(user), claims);
  }

  #heldBy(user: string): Holding {
    return this.#world.quotas.holdingOf(user);
  }
}

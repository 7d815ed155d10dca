/**
 * One simulation: nodes, clients and a manager in virtual time, from a seed alone. After each step what must hold is checked; a
 * step that breaks it ends the run with the seed, the step and what happened last.
 */
import { drainMicrotasks } from "bun:jsc";
import { type Limits, isLimited } from "../../src/lease/quota.ts";
import { UNPINNED } from "../../src/executor/machine/cores.ts";
import type { Actor } from "./actor.ts";
import type { Bug } from "./bugs.ts";
import { Client, GROUP_LIMIT_MS } from "./client.ts";
import { Faults, type Roles } from "./faults.ts";
import { RELEASE_NS, SETTLE_NS, checkCounted, checkEnded, checkNothingLeft } from "./liveness.ts";
import { ManagerProcess } from "./manager.ts";
import { Network } from "./network.ts";
import { ExecutorNode, type HostTroubles } from "./node.ts";
import { Operator, fewCoreHours, someLimits } from "./quotas/operator.ts";
import { QuotaTrial } from "./quotas/trial.ts";
import { QuotaWitness } from "./quotas/witness.ts";
import { Random } from "./random.ts";
import { Schedule } from "./schedule.ts";
import { Trace } from "./trace.ts";
import { Witness } from "./witness.ts";
import { MS, S, type World, violated } from "./world.ts";

/** Faults, and clients that want more, until then. */
const BUSY_NS = 8 * S;
const INSPECTION_NS = 200 * MS;
/** The network and all nodes get so many steps; more would be a storm. */
const MAX_STEPS = 1_000_000;
/** How many nodes are there from the start; the others come in the first second. */
const EARLY_SHARE = 0.7;
const MAX_NODE_CORES = 12;
const MAX_SUBSCRIBERS = 12;
/** Users with a limit, about, times nodes: each node hears of each. */
const MAX_LIMITED = 200;
const TRIED_NODES = 12;

export interface SimulationOptions {
  seed: number;
  nodes?: number;
  clients?: number;
  bug?: Bug | undefined;
  /** Hears each line of what happens. */
  trace?: (line: string) => void;
}

export interface Outcome {
  steps: number;
  leases: number;
  granted: number;
  failed: number;
  died: number;
}

/** What goes on: things fail, or nothing does any more and all must end. */
export type Phase = "faults" | "liveness";

/** A broken invariant, with what is needed to see it again. */
export class SimulationFailure extends Error {
  override name = "SimulationFailure";
  readonly seed: number;
  readonly step: number;
  readonly phase: Phase;
  readonly reason: string;

  constructor(
    { seed, step, phase }: { seed: number; step: number; phase: Phase },
    reason: string,
    last: readonly string[],
    cause: unknown,
  ) {
    super(`seed ${seed}, step ${step}: ${reason}\n${last.join("\n")}`, { cause });
    this.seed = seed;
    this.step = step;
    this.phase = phase;
    this.reason = reason;
  }
}

/** Runs one seed. Throws {@link SimulationFailure}. */
export function simulate(options: SimulationOptions): Outcome {
  return new Simulation(options).run();
}

class Simulation {
  readonly #seed: number;
  readonly #world: World;
  readonly #roles: Roles;
  readonly #faults: Faults;
  readonly #byName: ReadonlyMap<string, ExecutorNode>;
  /** Roles that are no nodes. */
  readonly #others: ReadonlySet<string>;
  #steps = 0;
  #phase: Phase = "faults";
  #error: unknown;

  constructor({ seed, nodes = 100, clients = 50, bug, trace }: SimulationOptions) {
    const random = new Random(seed);
    const lines = new Trace(trace);
    const schedule = new Schedule();
    this.#seed = seed;
    this.#world = {
      random,
      schedule,
      trace: lines,
      network: new Network(random, lines),
      witness: new Witness(),
      quotas: new QuotaWitness(new Operator(random), schedule),
      bug,
      failed: (error) => (this.#error ??= error),
    };
    this.#roles = createRoles(this.#world, nodes, clients);
    this.#byName = new Map(this.#roles.nodes.map((node) => [node.name, node]));
    this.#others = new Set(["manager", ...this.#roles.clients.map(({ name }) => name)]);
    this.#faults = new Faults(this.#world, this.#roles, BUSY_NS);
  }

  run(): Outcome {
    try {
      this.#start();
      this.#passUntil(BUSY_NS);
      this.#phase = "liveness";
      this.#faults.end();
      this.#passUntil(BUSY_NS + SETTLE_NS);
      checkEnded(this.#roles);
      checkCounted(this.#world, this.#roles);
      this.#releaseAll();
      this.#tryQuotas();
      this.#gatherGroups();
      this.#releaseAll();
      return this.#outcome();
    } catch (error) {
      const { trace } = this.#world;
      const reason = (error as Error).message;
      const where = { seed: this.#seed, step: this.#steps, phase: this.#phase };
      throw new SimulationFailure(where, reason, trace.last(), error);
    }
  }

  /** Everybody gives back what is left: then there must be nothing. */
  #releaseAll(): void {
    for (const client of this.#roles.clients) client.releaseAll();
    this.#passUntil(this.#world.schedule.nowNs + RELEASE_NS);
    checkNothingLeft(this.#world, this.#roles);
  }

  #start(): void {
    const { random, schedule } = this.#world;
    const { nodes, clients, manager } = this.#roles;
    const later = (actor: Actor, limitNs: number): void =>
      void schedule.plan(random.between(0, limitNs), actor.name, "starts", () => actor.start());
    later(manager, random.chance(0.8) ? 0 : 2 * S);
    for (const node of nodes) later(node, random.chance(EARLY_SHARE) ? 10 * MS : 1 * S);
    for (const client of clients) later(client, 500 * MS);
    this.#faults.plan();
    this.#inspectFrom(INSPECTION_NS);
  }

  #passUntil(atNs: number): void {
    const { schedule, trace } = this.#world;
    for (;;) {
      const planned = schedule.next(atNs);
      if (!planned) return;
      trace.step(++this.#steps, schedule.nowNs, planned.who, planned.what);
      if (this.#steps > MAX_STEPS) violated("it does not come to rest");
      planned.run();
      // What awaits goes on within the step.
      drainMicrotasks();
      if (this.#error !== undefined) throw this.#error;
      this.#check(planned.who);
    }
  }

  /** A step of a node changes that node; one of a client or of the manager changes none; others may change any. */
  #check(who: string): void {
    const node = this.#byName.get(who);
    if (node) node.check();
    else if (!this.#others.has(who)) for (const each of this.#roles.nodes) each.check();
  }

  #inspectFrom(atNs: number): void {
    this.#world.schedule.plan(atNs, "witness", "inspects", () => {
      for (const node of this.#roles.nodes) node.inspect();
      this.#inspectFrom(atNs + INSPECTION_NS);
    });
  }

  /** Of users whose quotas are asked for at once; then no user has one in the table. */
  #tryQuotas(): void {
    const { random, quotas, schedule } = this.#world;
    const { operator } = quotas;
    // The more nodes, the longer it takes, and six are asked at most.
    if (operator.counts && random.chance(TRIED_NODES / this.#roles.nodes.length)) {
      // Time stays where nothing happens.
      let atNs = schedule.nowNs;
      new QuotaTrial(this.#world, this.#roles, (ns) => this.#passUntil((atNs += ns))).run();
      this.#releaseAll();
    }
    operator.clear();
    this.#passUntil(schedule.nowNs + 1 * S);
  }

  /** Several that each want more than half of some nodes, all at once, get it one after the other. */
  #gatherGroups(): void {
    const { random, schedule } = this.#world;
    const nodes = this.#roles.nodes.filter((node) => node.alive && !node.paused && node.hasLine);
    const clients = this.#roles.clients.filter(
      (client) => client.alive && !isLimited(client.claims),
    );
    const some = nodes.slice(0, random.between(2, 6));
    const cores = some.reduce((sum, node) => sum + node.cores, 0);
    if (some.length < 2 || cores < 3 || clients.length === 0) return;
    for (const node of some) node.behave();
    const wanting = clients.slice(0, random.between(2, 5));
    let left = wanting.length;
    for (const client of wanting)
      client.after(random.between(0, 20 * MS), "wants a group", () =>
        client.wantGroup(some, random.between(Math.ceil(cores / 2) + 1, cores), () => left--),
      );
    const fromNs = schedule.nowNs;
    // Time stays where nothing happens.
    for (let ns = 0; left > 0 && ns <= GROUP_LIMIT_MS * MS + 1 * S; ns += 100 * MS)
      this.#passUntil(fromNs + ns);
    if (left > 0) violated(`${left} groups have not ended`);
  }

  #outcome(): Outcome {
    const sum = (count: "granted" | "failed" | "died"): number =>
      this.#roles.clients.reduce((total, { requests }) => total + requests[count], 0);
    return {
      steps: this.#steps,
      leases: this.#world.witness.leases.size,
      granted: sum("granted"),
      failed: sum("failed"),
      died: sum("died"),
    };
  }
}

function createRoles(world: World, nodeCount: number, clientCount: number): Roles {
  const { random } = world;
  const manager = new ManagerProcess(world);
  const sometimes = (limit: number): number => (random.chance(0.5) ? 0 : random.fraction() * limit);
  const troubles: HostTroubles = {
    slowStart: sometimes(0.3),
    failedLoad: sometimes(0.2),
    hungLoad: sometimes(0.1),
    budget: sometimes(0.3),
    former: sometimes(0.3),
  };
  const users = random.between(1, clientCount);
  const weights = Array.from({ length: users }, () => random.between(1, 4));
  const claims = limitUsers(world, users, nodeCount);
  const nodes = Array.from({ length: nodeCount }, (_, i) => {
    const cores = random.between(1, MAX_NODE_CORES);
    const unpinned = random.chance(0.2) ? random.between(0, cores) : 0;
    const cpus = Array.from({ length: cores }, (_, at) =>
      at < cores - unpinned ? cores - at : UNPINNED,
    );
    const memoryBytes = random.between(100, 1000);
    return new ExecutorNode(world, `node-${i}`, cpus, memoryBytes, troubles, manager);
  });
  const byName = new Map(nodes.map((node) => [node.name, node]));
  const subscribers = random.between(0, MAX_SUBSCRIBERS);
  // The fewer nodes they all know of, the fuller these are.
  const known = nodes.slice(0, random.between(Math.ceil(nodeCount / 10), nodeCount));
  const clients = Array.from({ length: clientCount }, (_, i) => {
    const subscribes = i < subscribers;
    const number = i % users;
    const whose = {
      user: `user-${number}`,
      weight: weights[number]!,
      claims: claims[number]!,
    };
    const options = { subscribes, busyUntilNs: BUSY_NS, ...whose };
    return new Client(world, `client-${i}`, known, byName, manager, options);
  });
  return { nodes, clients, manager };
}

/** Some are in the manager's table. Returns what each one's token says. */
function limitUsers(
  { random, quotas: { operator } }: World,
  users: number,
  nodes: number,
): Limits[] {
  // The more nodes, the more there is to say of each of them.
  const share = random.chance(0.5)
    ? 0
    : Math.min(1, MAX_LIMITED / nodes / users) * random.fraction();
  return Array.from({ length: users }, (_, i) => {
    if (random.chance(share))
      operator.set(`user-${i}`, random.chance(0.2) ? fewCoreHours(random) : someLimits(random));
    return random.chance(share) ? someLimits(random) : {};
  });
}

/**
 * A client: the real {@link KnownNodes}, {@link ManagerSubscription} and {@link Gathering} get it the workers that it wants; it uses
 * them, gives them back, and wants others; or does some of that badly.
 */
import { Gathering, type GatheringOptions } from "../../src/client/cluster/gathering.ts";
import { KnownNodes } from "../../src/client/cluster/known-nodes.ts";
import { ManagerSubscription } from "../../src/client/cluster/manager-link.ts";
import type { ConnectedNode } from "../../src/client/cluster/node.ts";
import { RfaasError } from "../../src/base/errors.ts";
import type { Limits } from "../../src/lease/quota.ts";
import { Actor } from "./actor.ts";
import { ActorClock } from "./clock.ts";
import { dialOver } from "./dial.ts";
import type { HeldLease } from "./held-lease.ts";
import type { ManagerProcess } from "./manager.ts";
import type { Socket, SocketEvents } from "./network.ts";
import { NodeLink, type LinkOwner } from "./node-link.ts";
import type { ExecutorNode } from "./node.ts";
import { MS, S, type World, violated } from "./world.ts";

const RETRY_NS = 200 * MS;
/** Longer than any program of the simulation lives. */
const CONNECT_TIMEOUT_MS = 60_000;
/** A module that is not loaded by then never will be. */
const LOAD_TIMEOUT_MS = 3_000;
/** How long a group may wait for others like it. */
export const GROUP_LIMIT_MS = 30_000;

export type Manners =
  /** Redeems, renews, calls, releases. */
  | "good"
  /** Lets the node see its calls, and never renews. */
  | "calls-only"
  /** Renews for ever without redeeming. */
  | "never-redeems"
  /** Takes a lease and forgets it, with its connection open. */
  | "forgets"
  /** Holds its leases until everybody is told to release. */
  | "keeps"
  /** The same, whatever the node wants back. */
  | "clings"
  /** Neither takes what it is offered nor passes it. */
  | "ignores-offers";

interface Treatment {
  redeems: boolean;
  renews: boolean;
  calls: boolean;
  hearsOffers: boolean;
}

const GOOD: Treatment = { redeems: true, renews: true, calls: true, hearsOffers: true };
const TREATMENT: Record<Manners, Treatment> = {
  good: GOOD,
  "calls-only": { ...GOOD, renews: false },
  "never-redeems": { ...GOOD, redeems: false, calls: false },
  forgets: { ...GOOD, renews: false, calls: false },
  keeps: GOOD,
  clings: GOOD,
  "ignores-offers": { ...GOOD, hearsOffers: false },
};

type Outcome = "granted" | "failed" | "died";

export class Client extends Actor implements LinkOwner {
  readonly actor = this;
  readonly user: string;
  readonly weight: number;
  readonly claims: Limits;
  clock: ActorClock;
  readonly #manager: ManagerProcess;
  readonly subscribes: boolean;
  readonly #busyUntilNs: number;
  readonly #nodes: readonly ExecutorNode[];
  readonly #byName: ReadonlyMap<string, ExecutorNode>;
  #known: KnownNodes | undefined;
  #subscription: ManagerSubscription | undefined;
  readonly #held = new Set<HeldLease>();
  #manners: Manners = "good";
  #wants = false;
  /** Which life it is: what an earlier one waits for never comes. */
  #lives = 0;
  /** Of all its lives. */
  readonly requests: Record<Outcome | "open", number> = { granted: 0, failed: 0, died: 0, open: 0 };

  constructor(
    world: World,
    name: string,
    nodes: readonly ExecutorNode[],
    byName: ReadonlyMap<string, ExecutorNode>,
    manager: ManagerProcess,
    {
      subscribes,
      busyUntilNs,
      user,
      weight,
      claims,
    }: {
      subscribes: boolean;
      busyUntilNs: number;
      user: string;
      weight: number;
      claims: Limits;
    },
  ) {
    super(world, name);
    this.user = user;
    this.weight = weight;
    this.claims = claims;
    this.clock = new ActorClock(world, this);
    this.#nodes = nodes;
    this.#byName = byName;
    this.#manager = manager;
    this.subscribes = subscribes;
    this.#busyUntilNs = busyUntilNs;
  }

  /** What it believes to hold. */
  leaseNames(): string[] {
    return [...this.#held].map(({ name }) => name);
  }

  /** Throws unless it knows exactly what the manager knows. */
  checkView(): void {
    if (!this.alive || !this.subscribes) return;
    const nodes = this.#manager.nodes();
    const view = this.#subscription?.nodes;
    if (nodes.length !== view?.size)
      violated(`${this.name} knows ${view?.size} nodes and the manager ${nodes.length}`);
    for (const info of nodes)
      if (!Bun.deepEquals(view.get(info.name), info))
        violated(`${this.name} was not told of the last change of ${info.name}`);
  }

  /** Gives back all it has, whatever its manners. */
  releaseAll(): void {
    this.release(() => true);
  }

  /** Gives back those leases that `which` says. */
  release(which: (lease: HeldLease) => boolean): void {
    if (this.alive) for (const lease of [...this.#held].filter(which)) this.#giveBack(lease);
  }

  /**
   * Wants so many workers of these nodes at once, uses them for a while and gives them back. Whether no other is in its way for ever: the
   * simulation ends if it does not get them.
   */
  wantGroup(nodes: readonly ExecutorNode[], workers: number, done: () => void): void {
    const { random } = this.world;
    const known = this.#knowing(nodes.map(({ name }) => ({ name, address: name })));
    this.#manners = "good";
    const options: GatheringOptions = {
      ...{ workers, memoryBytes: 0, wait: true, placement: "spread", maxNodes: Infinity },
      ...{ timeoutMs: GROUP_LIMIT_MS, signal: undefined },
      lease: { coresPerWorker: 1, ttlMs: 60_000, loadTimeoutMs: LOAD_TIMEOUT_MS },
    };
    const before = new Set(this.#held);
    this.#inThisLife(
      new Gathering(known, "a-module", options).run(),
      () => {
        const mine = [...this.#held].filter((lease) => !before.has(lease));
        this.after(random.between(10 * MS, 300 * MS), "is done with a group", () => {
          for (const lease of mine) this.#giveBack(lease);
          done();
        });
      },
      (error) => violated(`${this.name} has not got its group: ${(error as Error).message}`),
    );
  }

  /** Asks one node for so many workers, at once or not at all. `answered` hears the lease, or why there is none. */
  ask(node: ExecutorNode, workers: number, answered: (answer: HeldLease | Error) => void): void {
    this.#manners = "clings";
    const link = new NodeLink(this.world, this, node);
    const { signal } = new AbortController();
    const options = { workers, memory: 0, ttlMs: 60_000, signal };
    this.#inThisLife(
      link.open(signal).then(() => link.take("a-module", options)),
      answered,
      (error) => {
        void link.close();
        answered(error as Error);
      },
    );
  }

  accepted(socket: Socket): SocketEvents {
    return {
      received: () => violated(`${this.name} was called by ${socket.peer?.owner.name}`),
      lost() {},
    };
  }

  // ---- what its connections to nodes ask it ----

  treat(): Treatment {
    return TREATMENT[this.#manners];
  }

  held(lease: HeldLease, node: ExecutorNode): void {
    this.#held.add(lease);
    const { random } = this.world;
    lease.on("revoking", ({ deadline }) => {
      if (this.#manners === "clings" || random.chance(0.3)) return;
      const leftNs = (deadline.getTime() - this.clock.wallMs()) * MS;
      this.after(Math.floor(Math.max(0, leftNs) * random.fraction()), "makes room", () =>
        this.#giveBack(lease),
      );
    });
    if (TREATMENT[this.#manners].calls) this.#keepCalling(lease, node);
  }

  over(lease: HeldLease): void {
    this.#held.delete(lease);
  }

  protected started(): void {
    const { random, network } = this.world;
    network.poweredOn(this);
    this.#lives++;
    this.clock = new ActorClock(this.world, this);
    this.#held.clear();
    this.#known = undefined;
    this.#subscription = undefined;
    if (this.subscribes) this.#subscribe();
    else
      this.#know(
        this.#nodes.map(({ name, cores, memoryBytes }) => ({
          name,
          address: name,
          cores,
          memoryBytes,
        })),
      );
    this.after(random.between(10 * MS, 3 * S), "wants cores", () => this.#begin());
  }

  protected died(): void {
    if (this.#wants) this.#ended("died");
    this.#held.clear();
  }

  #subscribe(): void {
    const { world } = this;
    const options = {
      clock: this.clock,
      random: () => world.random.fraction(),
      dial: dialOver(world, this, this.#manager),
    };
    const patience = { timeoutMs: CONNECT_TIMEOUT_MS };
    this.#inThisLife(
      ManagerSubscription.connect("manager:1", null, patience, options),
      (subscription) => {
        this.#subscription = subscription;
        this.#know(subscription);
      },
      () => void this.after(RETRY_NS, "tries again", () => this.#subscribe()),
    );
  }

  #know(nodes: ConstructorParameters<typeof KnownNodes>[0]): void {
    this.#known = this.#knowing(nodes);
  }

  #knowing(nodes: ConstructorParameters<typeof KnownNodes>[0]): KnownNodes {
    const { world } = this;
    return new KnownNodes(nodes, {
      clock: this.clock,
      random: () => world.random.fraction(),
      connect: async (address, signal) => {
        const node = this.#byName.get(address.replace(/:1$/, ""))!;
        const link = new NodeLink(world, this, node);
        // Its leases have no memory; of all that the real ones have, requests use what these have, too.
        return (await link.open(signal)) as unknown as ConnectedNode;
      },
    });
  }

  #begin(): void {
    const { random, schedule, trace } = this.world;
    if (this.#wants || schedule.nowNs >= this.#busyUntilNs) return;
    if (!this.#known) return void this.after(RETRY_NS, "wants cores still", () => this.#begin());
    const ttlMs = random.between(500, 4000);
    const options: GatheringOptions = {
      workers: random.chance(0.2) ? random.between(8, 48) : random.between(1, 6),
      memoryBytes: random.between(0, 200),
      wait: random.chance(0.8),
      placement: random.chance(0.5) ? "spread" : "pack",
      maxNodes: random.chance(0.5) ? Infinity : random.between(1, 16),
      timeoutMs: random.between(200, 3000),
      signal: undefined,
      lease: {
        coresPerWorker: random.chance(0.2) ? random.between(2, 4) : 1,
        ttlMs,
        loadTimeoutMs: LOAD_TIMEOUT_MS,
      },
    };
    this.#manners = this.#chooseManners();
    this.#wants = true;
    this.requests.open++;
    trace.note(this.name, `wants (${this.#manners})`, options.workers);
    const holdNs = random.between(5 * MS, 4 * S);
    this.#inThisLife(
      new Gathering(this.#known, "a-module", options).run(),
      () => this.#satisfied(holdNs),
      (error) => {
        if (!(error instanceof RfaasError)) throw error;
        this.#ended("failed");
      },
    );
  }

  #chooseManners(): Manners {
    const { random } = this.world;
    if (random.chance(0.65)) return "good";
    return random.pick(["calls-only", "never-redeems", "forgets", "keeps", "ignores-offers"]);
  }

  #satisfied(holdNs: number): void {
    this.#ended("granted");
    const manners = this.#manners;
    if (manners === "keeps" || manners === "never-redeems" || manners === "forgets") return;
    const mine = [...this.#held];
    this.after(holdNs, "is done", () => {
      for (const lease of mine) this.#giveBack(lease);
    });
  }

  #ended(outcome: Outcome): void {
    this.#wants = false;
    this.requests.open--;
    this.requests[outcome]++;
    this.world.trace.note(this.name, "request has", outcome);
    if (outcome !== "died") this.#beginAgain();
  }

  /** It wants cores again when it has none left. */
  #beginAgain(): void {
    const { random, schedule } = this.world;
    this.after(random.between(100 * MS, 4 * S), "wants cores again", () => {
      if (this.#held.size === 0) this.#begin();
      else if (schedule.nowNs < this.#busyUntilNs) this.#beginAgain();
    });
  }

  #giveBack(lease: HeldLease): void {
    void lease.release();
  }

  #keepCalling(lease: HeldLease, node: ExecutorNode): void {
    const { random, network } = this.world;
    this.after(random.between(10 * MS, 900 * MS), "calls", () => {
      if (lease.over) return;
      if (!network.blocked(this, node))
        lease.host.call(random.between(1, 1000), random.between(1, 5 * MS));
      this.#keepCalling(lease, node);
    });
  }

  /** What comes of a promise is done unless this process has died meanwhile; what goes wrong then ends the simulation. */
  #inThisLife<T>(
    promise: Promise<T>,
    done: (value: T) => void,
    failed: (error: unknown) => void,
  ): void {
    const life = this.#lives;
    const mine = (): boolean => this.alive && life === this.#lives;
    promise
      .then(
        (value) => void (mine() && done(value)),
        (error: unknown) => void (mine() && failed(error)),
      )
      .catch((error: unknown) => this.world.failed(error));
  }
}

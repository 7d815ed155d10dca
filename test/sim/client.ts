/**
 * A client: asks nodes for cores until it has what it wants or its time is over, uses them, renews, gives them back; or does some
 * of that badly.
 */
import { Placement, type PlacementPolicy } from "../../src/lease/placement.ts";
import type { NodeInfo } from "../../src/protocol/manager-messages.ts";
import { Actor } from "./actor.ts";
import type { Manager } from "./manager.ts";
import type { FreeCapacity, HostDoor, Message, ToClient } from "./messages.ts";
import type { Socket } from "./network.ts";
import type { ExecutorNode } from "./node.ts";
import { MS, S, type World, violated } from "./world.ts";

const RETRY_NS = 200 * MS;
const MAX_WORKERS_PER_LEASE = 16;
/** A client with `wait: false` asks so many nodes at most. */
const MAX_REFUSALS = 8;

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
  | "keeps";

interface Held {
  lease: number;
  workers: number;
  link: Link;
  ttlNs: number;
}

interface Asked {
  request: Request;
  workers: number;
}

/** Its connection to one node. */
interface Link {
  node: ExecutorNode;
  socket: Socket | undefined;
  /** Asked, and not answered; by number. */
  asked: Map<number, Asked>;
  held: Map<number, Held>;
}

interface Request {
  workers: number;
  coresPerWorker: number;
  memoryBytes: number;
  ttlNs: number;
  waits: boolean;
  placement: PlacementPolicy;
  maxNodes: number;
  manners: Manners;
  holdNs: number;
  got: number;
  asking: number;
  refusals: number;
  retryPlanned: boolean;
  outcome: "granted" | "failed" | "died" | undefined;
}

export class Client extends Actor {
  readonly #manager: Manager;
  readonly #subscribes: boolean;
  readonly #busyUntilNs: number;
  readonly #nodes: readonly ExecutorNode[];
  readonly #byName: ReadonlyMap<string, ExecutorNode>;
  #placement: Placement;
  #links = new Map<ExecutorNode, Link>();
  #view = new Map<string, NodeInfo>();
  #socket: Socket | undefined;
  #request: Request | undefined;
  #nextAsk = 1;
  /** Of all its lives. */
  readonly requests: { granted: number; failed: number; died: number; open: number } = {
    granted: 0,
    failed: 0,
    died: 0,
    open: 0,
  };

  constructor(
    world: World,
    name: string,
    nodes: readonly ExecutorNode[],
    byName: ReadonlyMap<string, ExecutorNode>,
    manager: Manager,
    { subscribes, busyUntilNs }: { subscribes: boolean; busyUntilNs: number },
  ) {
    super(world, name);
    this.#nodes = nodes;
    this.#byName = byName;
    this.#manager = manager;
    this.#subscribes = subscribes;
    this.#busyUntilNs = busyUntilNs;
    this.#placement = this.#newPlacement();
  }

  /** What it believes to hold. */
  leaseNames(): string[] {
    return this.#allHeld().map(({ link, lease }) => `${link.node.name}/${lease}`);
  }

  get leases(): number {
    let count = 0;
    for (const { held } of this.#links.values()) count += held.size;
    return count;
  }

  /** Throws unless it knows exactly what the manager knows. */
  checkView(): void {
    if (!this.alive || !this.#subscribes) return;
    const nodes = this.#manager.nodes();
    if (nodes.length !== this.#view.size)
      violated(`${this.name} knows ${this.#view.size} nodes and the manager ${nodes.length}`);
    for (const info of nodes)
      if (!Bun.deepEquals(this.#view.get(info.name), info))
        violated(`${this.name} was not told of the last change of ${info.name}`);
  }

  /** Gives back all it has, whatever its manners. */
  releaseAll(): void {
    if (!this.alive) return;
    for (const link of this.#links.values()) this.#release(link);
  }

  accepted(): void {}

  received(socket: Socket, message: Message): void {
    const said = message as ToClient;
    if (said.t === "nodes" || said.t === "nodes-changed") return this.#learn(said);
    const link = this.#linkOf(socket);
    if (!link) return;
    switch (said.t) {
      case "granted":
        this.#learnFree(link.node, said.free);
        return this.#granted(link, said.id, said.lease, said.host);
      case "denied":
        this.#learnFree(link.node, said.free);
        return this.#denied(link, said.id);
      case "revoking": {
        const held = link.held.get(said.lease);
        if (!held || this.world.random.chance(0.3)) return;
        const leaveNs = Math.floor(said.leftNs * this.world.random.fraction());
        return this.after(leaveNs, "makes room", () => this.#giveBack(held));
      }
      case "lost": {
        const held = link.held.get(said.lease);
        if (held) this.#lostLease(held);
      }
    }
  }

  lost(socket: Socket): void {
    if (socket === this.#socket) {
      this.#socket = undefined;
      return this.after(RETRY_NS, "tries again", () => this.#subscribe());
    }
    const link = this.#linkOf(socket);
    if (link) this.#lostLink(link);
  }

  protected started(): void {
    const { random, network } = this.world;
    network.poweredOn(this);
    this.#placement = this.#newPlacement();
    this.#links = new Map();
    this.#view = new Map();
    this.#socket = undefined;
    this.#request = undefined;
    if (this.#subscribes) this.#subscribe();
    else this.#hope();
    this.after(random.between(10 * MS, 3 * S), "wants cores", () => this.#begin());
  }

  protected died(): void {
    if (this.#request) this.#endRequest(this.#request, "died");
  }

  #subscribe(): void {
    this.world.network.connect(
      this,
      this.#manager,
      (socket) => {
        this.#socket = socket;
        socket.send({ t: "subscribe" });
      },
      () => this.after(RETRY_NS, "tries again", () => this.#subscribe()),
    );
  }

  #newPlacement(): Placement {
    return new Placement(() => this.world.random.fraction());
  }

  #learn(said: Extract<ToClient, { t: "nodes" | "nodes-changed" }>): void {
    const gone = said.t === "nodes" ? [...this.#view.keys()] : said.gone;
    for (const name of gone) {
      this.#view.delete(name);
      this.#placement.forget(name);
    }
    for (const info of said.nodes) {
      const { name, freeCores, freeMemoryBytes } = info;
      this.#view.set(name, info);
      this.#placement.learn({ name, freeCores, freeMemoryBytes, open: info.state === "up" });
    }
    if (this.#request) this.#place(this.#request);
  }

  #learnFree({ name }: ExecutorNode, free: FreeCapacity): void {
    this.#placement.learn({ name, ...free });
  }

  /** Nobody tells it what is free: it takes all nodes of its list for empty. */
  #hope(): void {
    for (const { name, cores, memoryBytes } of this.#nodes)
      this.#placement.learn({ name, freeCores: cores, freeMemoryBytes: memoryBytes, open: true });
  }

  #begin(): void {
    const { random, schedule, trace } = this.world;
    if (this.#request || schedule.nowNs >= this.#busyUntilNs) return;
    const request: Request = {
      workers: random.chance(0.2) ? random.between(8, 48) : random.between(1, 6),
      coresPerWorker: random.chance(0.2) ? random.between(2, 4) : 1,
      memoryBytes: random.between(0, 200),
      ttlNs: random.between(500 * MS, 4 * S),
      waits: random.chance(0.8),
      placement: random.chance(0.5) ? "spread" : "pack",
      maxNodes: random.between(1, 16),
      manners: this.#chooseManners(),
      holdNs: random.between(5 * MS, 4 * S),
      got: 0,
      asking: 0,
      refusals: 0,
      retryPlanned: false,
      outcome: undefined,
    };
    this.#request = request;
    this.requests.open++;
    trace.note(this.name, `wants (${request.manners})`, request.workers);
    this.after(random.between(200 * MS, 3 * S), "waits no longer", () => this.#fail(request));
    this.#place(request);
  }

  #chooseManners(): Manners {
    const { random } = this.world;
    if (random.chance(0.65)) return "good";
    return random.pick(["calls-only", "never-redeems", "forgets", "keeps"]);
  }

  /** Asks nodes for what is missing. */
  #place(request: Request): void {
    if (request.outcome) return;
    const missing = request.workers - request.got - request.asking;
    if (missing <= 0) return;
    const { coresPerWorker, memoryBytes, placement, maxNodes } = request;
    const held = [...this.#links.values()].filter(({ held, asked }) => held.size + asked.size > 0);
    const asks = this.#placement.plan({
      workers: missing,
      coresPerWorker,
      memoryBytes,
      placement,
      maxNodes,
      maxWorkersPerLease: MAX_WORKERS_PER_LEASE,
      held: new Set(held.map(({ node }) => node.name)),
    });
    for (const ask of asks) {
      this.#placement.reserve(ask, memoryBytes, coresPerWorker);
      this.#ask(this.#byName.get(ask.node)!, request, ask.workers);
    }
    if (asks.reduce((sum, { workers }) => sum + workers, 0) < missing) this.#noRoom(request);
  }

  #noRoom(request: Request): void {
    if (!request.waits && request.asking === 0) return this.#fail(request);
    if (request.retryPlanned) return;
    request.retryPlanned = true;
    this.after(RETRY_NS, "asks again", () => {
      request.retryPlanned = false;
      this.#placement.reconsider();
      if (!this.#subscribes) this.#hope();
      this.#place(request);
    });
  }

  #ask(node: ExecutorNode, request: Request, workers: number): void {
    const id = this.#nextAsk++;
    request.asking += workers;
    const link = this.#links.get(node);
    if (link) {
      link.asked.set(id, { request, workers });
      if (link.socket) this.#sendAsk(link.socket, id, request, workers);
      return;
    }
    const fresh: Link = {
      node,
      socket: undefined,
      asked: new Map([[id, { request, workers }]]),
      held: new Map(),
    };
    this.#links.set(node, fresh);
    this.world.network.connect(
      this,
      node,
      (socket) => {
        fresh.socket = socket;
        for (const [asked, { request, workers }] of fresh.asked)
          this.#sendAsk(socket, asked, request, workers);
      },
      () => this.#lostLink(fresh),
    );
  }

  #sendAsk(socket: Socket, id: number, request: Request, workers: number): void {
    const { coresPerWorker, memoryBytes, ttlNs } = request;
    socket.send({ t: "allocate", id, workers, coresPerWorker, memoryBytes, ttlNs });
  }

  #granted(link: Link, id: number, lease: number, host: HostDoor): void {
    const asked = this.#answered(link, id);
    if (!asked || asked.request.outcome) {
      link.socket?.send({ t: "release", lease });
      return;
    }
    const { request, workers } = asked;
    const held: Held = { lease, workers, link, ttlNs: request.ttlNs };
    request.asking -= workers;
    request.got += workers;
    link.held.set(lease, held);
    if (request.manners !== "never-redeems") link.socket?.send({ t: "redeem", lease });
    if (request.manners !== "calls-only" && request.manners !== "forgets") this.#keepRenewing(held);
    if (request.manners !== "never-redeems" && request.manners !== "forgets")
      this.#keepCalling(held, host);
    if (request.got === request.workers) this.#satisfied(request);
  }

  #satisfied(request: Request): void {
    this.#endRequest(request, "granted");
    const { manners, holdNs } = request;
    if (manners === "keeps" || manners === "never-redeems" || manners === "forgets") return;
    const mine = this.#allHeld();
    this.after(holdNs, "is done", () => {
      for (const held of mine) this.#giveBack(held);
    });
  }

  #denied(link: Link, id: number): void {
    const asked = this.#answered(link, id);
    this.#placement.refuse(link.node.name);
    if (asked) this.#refused(asked.request, asked.workers);
  }

  /** What was asked for under this number; it is not under way any more. */
  #answered(link: Link, id: number): Asked | undefined {
    const asked = link.asked.get(id);
    if (!link.asked.delete(id) || !asked) return undefined;
    const { request, workers } = asked;
    const { coresPerWorker, memoryBytes } = request;
    this.#placement.settle({ node: link.node.name, workers }, memoryBytes, coresPerWorker);
    return asked;
  }

  #refused(request: Request, workers: number): void {
    request.asking -= workers;
    request.refusals++;
    if (!request.waits && request.refusals > MAX_REFUSALS) this.#fail(request);
    this.#place(request);
  }

  #lostLink(link: Link): void {
    this.#links.delete(link.node);
    link.socket = undefined;
    this.#placement.refuse(link.node.name);
    for (const held of [...link.held.values()]) this.#lostLease(held);
    const asked = [...link.asked.keys()].map((id) => this.#answered(link, id)!);
    for (const { request, workers } of asked) this.#refused(request, workers);
  }

  #lostLease(held: Held): void {
    if (!held.link.held.delete(held.lease)) return;
    if (!this.#request) return;
    this.#request.got = this.#allHeld().reduce((sum, { workers }) => sum + workers, 0);
    this.#place(this.#request);
  }

  #fail(request: Request): void {
    if (request.outcome) return;
    this.#endRequest(request, "failed");
    for (const link of this.#links.values()) {
      for (const id of link.asked.keys()) link.socket?.send({ t: "abandon", id });
      this.#release(link);
    }
  }

  #endRequest(request: Request, outcome: "granted" | "failed" | "died"): void {
    request.outcome = outcome;
    this.#request = undefined;
    this.requests.open--;
    this.requests[outcome]++;
    this.world.trace.note(this.name, "request has", outcome);
    if (outcome !== "died") this.#beginAgain();
  }

  /** It wants cores again when it has none left. */
  #beginAgain(): void {
    const { random, schedule } = this.world;
    this.after(random.between(100 * MS, 4 * S), "wants cores again", () => {
      if (this.leases === 0) this.#begin();
      else if (schedule.nowNs < this.#busyUntilNs) this.#beginAgain();
    });
  }

  #release(link: Link): void {
    for (const held of [...link.held.values()]) this.#giveBack(held);
  }

  #giveBack(held: Held): void {
    if (!this.#holds(held)) return;
    held.link.socket?.send({ t: "release", lease: held.lease });
    this.#lostLease(held);
  }

  #keepRenewing(held: Held): void {
    this.after(Math.floor(held.ttlNs / 3), "renews", () => {
      if (!this.#holds(held)) return;
      held.link.socket?.send({ t: "renew", lease: held.lease, ttlNs: held.ttlNs });
      this.#keepRenewing(held);
    });
  }

  #keepCalling(held: Held, host: HostDoor): void {
    const { random, network } = this.world;
    this.after(random.between(10 * MS, 900 * MS), "calls", () => {
      if (!this.#holds(held)) return;
      if (!network.blocked(this, held.link.node))
        host.call(random.between(1, 1000), random.between(1, 5 * MS));
      this.#keepCalling(held, host);
    });
  }

  #holds(held: Held): boolean {
    return held.link.held.get(held.lease) === held;
  }

  #allHeld(): Held[] {
    return [...this.#links.values()].flatMap(({ held }) => [...held.values()]);
  }

  #linkOf(socket: Socket): Link | undefined {
    const link = this.#links.get(socket.peer.owner as ExecutorNode);
    return link?.socket === socket ? link : undefined;
  }
}

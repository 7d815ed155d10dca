/**
 * An executor node: a machine, and on it an agent that runs the real {@link LeaseBook}. What the lease protocol says must be done
 * is done here with delays: hosts that start, load and exit, messages, reports to the manager.
 */
import { type LeaseBook, allocatedCoreNs } from "../../src/lease/book.ts";
import type { EndReason, LeaseEffect, LeaseEvent } from "../../src/lease/lease.ts";
import { Actor } from "./actor.ts";
import { newBook } from "./bugs.ts";
import { Host } from "./host.ts";
import type { Manager } from "./manager.ts";
import type { FreeCapacity, Message, ToNode } from "./messages.ts";
import type { Socket } from "./network.ts";
import { NodeClock } from "./node-clock.ts";
import { Reporter } from "./reporter.ts";
import { CoresWitness, LOAD_LIMIT_NS, LeaseWitness } from "./witness.ts";
import { MS, S, US, type World } from "./world.ts";

const ACCOUNTS_INTERVAL_NS = 1 * S;

/** What may go wrong with hosts, each from 0 to 1. */
export interface HostTroubles {
  slowStart: number;
  failedLoad: number;
  hungLoad: number;
  /** That a lease has a budget, which it will likely exceed. */
  budget: number;
}

interface NodeLease {
  id: number;
  request: number;
  /** The client's connection. */
  client: Socket;
  workers: number;
  cores: number;
  host: Host;
  witness: LeaseWitness;
  startedAtMs: number;
  budgetCoreNs: number;
  announced: boolean;
  /** Calls when the node last looked. */
  seenCalls: number;
}

export class ExecutorNode extends Actor {
  readonly cores: number;
  readonly memoryBytes: number;
  readonly #cpus: readonly number[];
  readonly #troubles: HostTroubles;
  readonly #witness: CoresWitness;
  readonly #reporter: Reporter;
  readonly #leases = new Map<number, NodeLease>();
  #instances = 0;
  #book: LeaseBook;
  #clock: NodeClock;
  #armedForNs = Infinity;
  #keepsAccounts = false;
  /** The end of its life is near: it takes no leases and only hands in bills. */
  #leaving = false;

  constructor(
    world: World,
    name: string,
    cpus: readonly number[],
    memoryBytes: number,
    troubles: HostTroubles,
    manager: Manager,
  ) {
    super(world, name);
    this.cores = cpus.length;
    this.memoryBytes = memoryBytes;
    this.#cpus = cpus;
    this.#troubles = troubles;
    this.#witness = new CoresWitness(name, cpus, memoryBytes);
    this.#reporter = new Reporter(world, this, manager);
    this.#book = newBook(world.bug, cpus, memoryBytes);
    this.#clock = new NodeClock(world.schedule, world.random);
  }

  get instance(): string {
    return `${this.name}.${this.#instances}`;
  }

  get freeCores(): number {
    return this.#book.freeCores;
  }

  get freeMemoryBytes(): number {
    return this.#book.freeMemoryBytes;
  }

  get draining(): boolean {
    return this.#book.draining;
  }

  get leaseCount(): number {
    return this.#leases.size;
  }

  get leaving(): boolean {
    return this.#leaving;
  }

  /** Everything is handed in. */
  get settled(): boolean {
    return this.#reporter.empty;
  }

  /** The leases that are alive. */
  leaseNames(): string[] {
    return [...this.#leases.keys()].map((id) => `${this.name}/${id}`);
  }

  /** Throws when what the node believes and what is true differ. */
  check(): void {
    if (this.alive) this.#witness.check(this.#book);
  }

  /** Throws when a lease has outlived its time. */
  inspect(): void {
    if (!this.alive || this.paused) return;
    const now = this.#clock.nowNs();
    const awakeSince = this.#clock.at(Math.max(0, this.pausedUntilNs));
    for (const { witness } of this.#leases.values()) witness.inspect(now, awakeSince);
  }

  protected started(): void {
    this.#instances++;
    this.#book = newBook(this.world.bug, this.#cpus, this.memoryBytes);
    this.#clock = new NodeClock(this.world.schedule, this.world.random);
    this.#armedForNs = Infinity;
    this.#keepsAccounts = false;
    this.#leaving = false;
    this.world.network.poweredOn(this);
    this.#reporter.start();
  }

  protected died(): void {
    this.#witness.reset();
    const atNs = this.#clock.nowNs();
    for (const { host, witness } of this.#leases.values()) {
      host.gone = true;
      witness.orphan(atNs);
    }
    for (const key of this.#reporter.stop()) this.world.witness.leases.get(key)!.orphan(atNs);
    this.#leases.clear();
  }

  accepted(): void {}

  received(socket: Socket, message: Message): void {
    const said = message as ToNode;
    switch (said.t) {
      case "allocate":
        return this.#allocate(socket, said);
      case "abandon":
        for (const lease of this.#leases.values())
          if (lease.client === socket && lease.request === said.id)
            this.#end(lease, { kind: "client-gone" });
        return;
      case "redeem":
        return this.#hear(socket, said.lease, { kind: "redeemed", atNs: this.#clock.nowNs() });
      case "renew":
        return this.#hear(socket, said.lease, {
          kind: "renewed",
          atNs: this.#clock.nowNs(),
          ttlNs: said.ttlNs,
        });
      case "release":
        return this.#hear(socket, said.lease, {
          kind: "ended",
          atNs: this.#clock.nowNs(),
          reason: { kind: "released" },
        });
      case "drain":
        return this.drain(said.deadlineMs);
      case "resume":
        return this.resume();
      default:
        return this.#reporter.received(socket, said);
    }
  }

  lost(socket: Socket): void {
    this.#reporter.lost(socket);
    for (const lease of this.#leases.values())
      if (lease.client === socket) this.#end(lease, { kind: "client-gone" });
  }

  /** The batch system wants the node back. */
  drain(deadlineMs: number): void {
    if (!this.alive) return;
    this.world.trace.note(this.name, "drains within ms", deadlineMs);
    this.#witness.drained = true;
    const atNs = this.#clock.nowNs();
    const deadlineNs = atNs + deadlineMs * MS;
    const event: LeaseEvent = { kind: "revoked", atNs, deadlineNs };
    for (const { lease, effects } of this.#book.drain(atNs, deadlineNs))
      this.#do(this.#leases.get(lease)!, event, effects);
    this.#arm();
    this.#reporter.capacityChanged();
  }

  resume(): void {
    if (!this.alive || this.#leaving) return;
    this.#book.resume();
    this.#witness.drained = false;
    this.#reporter.capacityChanged();
  }

  /** Stops in good order: ends its leases, hands in its bills, goes. */
  leave(): void {
    if (!this.alive || this.#leaving) return;
    this.world.trace.note(this.name, "leaves");
    this.#leaving = true;
    this.#book.draining = true;
    this.#witness.drained = true;
    this.#reporter.leave();
    for (const lease of this.#leases.values()) this.#end(lease, { kind: "node-stopped" });
    this.#goWhenSettled();
  }

  /** The host of a lease is killed from outside. */
  killHost(): void {
    const running = [...this.#leases.values()].filter(({ host }) => !host.gone);
    if (!this.alive || running.length === 0) return;
    const lease = this.world.random.pick(running);
    this.world.trace.note(this.name, "loses the host of lease", lease.id);
    this.#hostGone(lease);
  }

  #allocate(client: Socket, asked: Extract<ToNode, { t: "allocate" }>): void {
    const { id, workers, coresPerWorker, memoryBytes, ttlNs } = asked;
    const grantedAtNs = this.#clock.nowNs();
    const granted = this.#book.request(
      { workers, coresPerWorker, memoryBytes, ttlNs, loadLimitNs: LOAD_LIMIT_NS },
      grantedAtNs,
    );
    if (typeof granted === "string") return client.send({ t: "denied", id, free: this.#free() });
    const key = `${this.instance}/${granted.lease}`;
    this.world.trace.note(this.name, "grants to", client.peer.owner.name);
    const witness = new LeaseWitness(key, client.peer.owner.name, granted.share, {
      grantedAtNs,
      ttlNs,
    });
    const { random } = this.world;
    const budgeted = random.chance(this.#troubles.budget);
    const lease: NodeLease = {
      id: granted.lease,
      request: id,
      client,
      workers,
      cores: workers * coresPerWorker,
      host: new Host(),
      witness,
      startedAtMs: Math.floor(this.world.schedule.nowNs / MS),
      budgetCoreNs: budgeted ? workers * random.between(1 * MS, 3 * S) : Infinity,
      announced: false,
      seenCalls: 0,
    };
    this.world.witness.granted(witness);
    this.#witness.take(witness);
    this.#leases.set(lease.id, lease);
    this.#reporter.capacityChanged();
    this.#arm();
    this.#startHost(lease);
  }

  #free(): FreeCapacity {
    const { freeCores, freeMemoryBytes, draining } = this;
    return { freeCores, freeMemoryBytes, open: !draining };
  }

  #startHost(lease: NodeLease): void {
    const { random } = this.world;
    const delayNs = random.chance(this.#troubles.slowStart)
      ? random.between(100 * MS, 2 * S)
      : random.between(500 * US, 5 * MS);
    if (random.chance(this.#troubles.failedLoad))
      return this.after(delayNs, "cannot load a module", () =>
        this.#end(lease, { kind: "load-failed" }),
      );
    if (random.chance(this.#troubles.hungLoad)) return;
    this.after(delayNs, "has loaded a module", () => {
      if (lease.host.gone) return;
      this.#tell(lease, { kind: "loaded", atNs: this.#clock.nowNs() });
      this.#keepAccounts();
    });
  }

  /** A client says something of a lease, which must be its own. */
  #hear(socket: Socket, id: number, event: LeaseEvent): void {
    const lease = this.#leases.get(id);
    if (lease?.client === socket) this.#tell(lease, event);
  }

  #end(lease: NodeLease, reason: EndReason): void {
    this.#tell(lease, { kind: "ended", atNs: this.#clock.nowNs(), reason });
  }

  #tell(lease: NodeLease, event: LeaseEvent): void {
    this.#do(lease, event, this.#book.advance(lease.id, event));
    this.#arm();
  }

  #do(lease: NodeLease, event: LeaseEvent, effects: readonly LeaseEffect[]): void {
    lease.witness.told(event, effects);
    for (const effect of effects) this.#perform(lease, effect);
  }

  #perform(lease: NodeLease, effect: LeaseEffect): void {
    const { id, request, client, host } = lease;
    this.world.trace.note(this.name, effect, id);
    switch (effect) {
      case "announce-grant":
        lease.announced = true;
        return client.send({ t: "granted", id: request, lease: id, host, free: this.#free() });
      case "announce-revocation": {
        const state = this.#book.state(id);
        if (state?.phase !== "revoking") return;
        const leftNs = state.deadlineNs - this.#clock.nowNs();
        return client.send({ t: "revoking", lease: id, leftNs });
      }
      case "announce-loss":
        if (lease.announced) return client.send({ t: "lost", lease: id });
        return client.send({ t: "denied", id: request, free: this.#free() });
      case "stop-host":
        if (host.gone) return;
        return this.after(this.world.random.between(100 * US, 30 * MS), "sees a host exit", () =>
          this.#hostGone(lease),
        );
      case "return-capacity":
        if (host.gone) this.#finish(lease);
    }
  }

  #hostGone(lease: NodeLease): void {
    if (lease.host.gone) return;
    lease.host.gone = true;
    this.#witness.stopped(lease.witness);
    if (lease.witness.over) return this.#finish(lease);
    this.#end(lease, { kind: "host-died", exitCode: null, signal: "SIGKILL" });
  }

  /** The host is gone and the lease is over: the bill can be made, and the cores are free. */
  #finish(lease: NodeLease): void {
    lease.witness.gone(lease.host.calls);
    this.#report(lease);
    this.#book.free(lease.id);
    this.#witness.give(lease.witness);
    this.#leases.delete(lease.id);
    // A second notice of the same exit must do nothing.
    this.#book.free(lease.id);
    this.#reporter.capacityChanged();
    this.#goWhenSettled();
  }

  #report(lease: NodeLease): void {
    const state = this.#book.state(lease.id)!;
    const ended = state.phase === "ended";
    const { key, user } = lease.witness;
    this.#reporter.report({
      lease: key,
      node: this.name,
      user,
      workers: lease.workers,
      startedAtMs: lease.startedAtMs,
      endedAtMs: ended ? Math.floor(this.world.schedule.nowNs / MS) : null,
      reason: ended ? state.reason.kind : null,
      usage: {
        allocationCoreNs: allocatedCoreNs(state, lease.cores, this.#clock.nowNs()),
        executionNs: lease.host.executionNs,
        pollingNs: 0,
        calls: lease.host.calls,
        bytes: 64 * lease.host.calls,
      },
    });
  }

  #keepAccounts(): void {
    if (this.#keepsAccounts || this.#leases.size === 0) return;
    this.#keepsAccounts = true;
    this.after(ACCOUNTS_INTERVAL_NS, "keeps accounts", () => {
      this.#keepsAccounts = false;
      for (const lease of this.#leases.values()) {
        const state = this.#book.state(lease.id)!;
        if (state.phase === "granted" || state.phase === "ended") continue;
        this.#report(lease);
        const used = allocatedCoreNs(state, lease.cores, this.#clock.nowNs());
        if (used >= lease.budgetCoreNs) this.#end(lease, { kind: "over-budget" });
      }
      this.#keepAccounts();
    });
  }

  /** Sets the timer for the lease that is due first. */
  #arm(): void {
    const dueNs = this.#book.nextDueNs();
    if (dueNs === Infinity || dueNs >= this.#armedForNs) return;
    this.#armedForNs = dueNs;
    const late = this.world.random.between(0, 2 * MS);
    this.after(this.#clock.untilNs(dueNs) + late, "looks at the time", () => {
      if (this.#armedForNs === dueNs) {
        this.#armedForNs = Infinity;
        this.#passTime();
      }
      this.#arm();
    });
  }

  #passTime(): void {
    const atNs = this.#clock.nowNs();
    for (const id of this.#book.dueLeases(atNs)) {
      const lease = this.#leases.get(id)!;
      if (lease.host.calls === lease.seenCalls) continue;
      lease.seenCalls = lease.host.calls;
      this.#tell(lease, { kind: "renewed", atNs });
    }
    for (const { lease, effects } of this.#book.passTime(atNs))
      this.#do(this.#leases.get(lease)!, { kind: "time", atNs }, effects);
  }

  /** Called by the reporter, too, when something was acknowledged. */
  #goWhenSettled(): void {
    if (this.#leaving && this.#leases.size === 0 && this.#reporter.empty) {
      this.world.trace.note(this.name, "has left");
      this.kill(false);
    }
  }

  acknowledged(): void {
    this.#goWhenSettled();
  }
}

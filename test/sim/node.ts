/**
 * An executor node: a machine, and on it an agent that runs the real {@link LeaseBook}, {@link LeaseTimers} and {@link Bookkeeper}.
 * What they say must be done is done here with delays: hosts that start, load and exit, and messages.
 */
import type { AgentEvents } from "../../src/executor/agent/agent.ts";
import type { LeaseBill } from "../../src/executor/agent/lease-table.ts";
import type { LeaseTimers } from "../../src/executor/agent/lease-timers.ts";
import { type BookedNode, Bookkeeper } from "../../src/executor/accounts/bookkeeper.ts";
import { RequestRefused } from "../../src/control/requests.ts";
import type { WaitingLine } from "../../src/executor/admission/waiting-line.ts";
import type { OverLimit } from "../../src/lease/quota.ts";
import type { Use } from "../../src/lease/shares.ts";
import { DRAINING, type LeaseBook, allocatedCoreNs, describeEnd } from "../../src/lease/book.ts";
import {
  type EndReason,
  type LeaseEffect,
  type LeaseEvent,
  termEndNs,
} from "../../src/lease/lease.ts";
import type { Usage } from "../../src/protocol/usage.ts";
import { Actor } from "./actor.ts";
import { bookedBy, keeperClock, newBook, newLine, newTimers } from "./bugs.ts";
import { ActorClock } from "./clock.ts";
import { type Listener, dialOver } from "./dial.ts";
import { Host } from "./host.ts";
import type { ManagerProcess } from "./manager.ts";
import type { ToNode } from "./messages.ts";
import type { Socket, SocketEvents } from "./network.ts";
import { NodeQuota, type Whose } from "./quotas/node-quota.ts";
import { LineWitness, type PlaceSeen, type UseSeen } from "./line-witness.ts";
import { CoresWitness, LOAD_LIMIT_NS, LeaseWitness } from "./witness.ts";
import { MS, S, US, type World } from "./world.ts";

/** What may go wrong with hosts, each from 0 to 1. */
export interface HostTroubles {
  slowStart: number;
  failedLoad: number;
  hungLoad: number;
  /** That a lease has a budget, which it will likely exceed. */
  budget: number;
  /** That a node is of a former version. */
  former: number;
}

interface NodeLease {
  id: number;
  request: number;
  /** The client's connection. */
  client: Socket;
  user: string;
  workers: number;
  coresPerWorker: number;
  host: Host;
  witness: LeaseWitness;
  use: Use;
  seenUse: UseSeen;
  startedAtMs: number;
  budgetCoreNs: number;
  announced: boolean;
  /** Its user may hold it, as far as the node was told. */
  allowed: boolean;
  /** Calls when the node last looked. */
  seenCalls: number;
}

/** Rarer than in truth: bills would be most of what happens. */
const METER_INTERVAL_MS = 1000;
/** How long leases may go on when the manager removes the node. */
const REMOVAL_LIMIT_MS = 1000;

export class ExecutorNode extends Actor implements BookedNode {
  readonly cores: number;
  readonly memoryBytes: number;
  readonly #cpus: readonly number[];
  #troubles: HostTroubles;
  readonly #manager: ManagerProcess;
  readonly #witness: CoresWitness;
  readonly #lineWitness: LineWitness;
  /** One of a former version has none. */
  readonly hasLine: boolean;
  readonly #leases = new Map<number, NodeLease>();
  /** Leases of this life whose last bill no manager has confirmed. */
  readonly #unsettled = new Set<LeaseWitness>();
  #instances = 0;
  #book: LeaseBook;
  #clock: ActorClock;
  #timers: LeaseTimers;
  #line: WaitingLine;
  #quota: NodeQuota | undefined;
  #keeper: Bookkeeper | undefined;
  #events: AgentEvents | undefined;
  #refusal: string | null = null;
  /** The end of its life is near: it takes no leases and only hands in bills. */
  #leaving = false;

  constructor(
    world: World,
    name: string,
    cpus: readonly number[],
    memoryBytes: number,
    troubles: HostTroubles,
    manager: ManagerProcess,
  ) {
    super(world, name);
    this.cores = cpus.length;
    this.memoryBytes = memoryBytes;
    this.#cpus = cpus;
    this.#troubles = troubles;
    this.#manager = manager;
    this.#witness = new CoresWitness(name, cpus, memoryBytes);
    this.#lineWitness = new LineWitness(name);
    this.hasLine = troubles.former === 0 || !world.random.chance(troubles.former);
    this.#clock = new ActorClock(world, this);
    this.#book = newBook(world.bug, cpus, memoryBytes);
    this.#timers = this.#newTimers();
    this.#line = this.#newLine();
  }

  get instance(): string {
    return `${this.name}.${this.#instances}`;
  }

  get free(): { cores: number; memoryBytes: number } {
    return { cores: this.#book.freeCores, memoryBytes: this.#book.freeMemoryBytes };
  }

  get draining(): boolean {
    return this.#book.draining;
  }

  get leaseCount(): number {
    return this.#book.size;
  }

  get keptHosts(): number {
    return 0;
  }

  get waiting(): number {
    return this.#line.size;
  }

  get waitingSinceMs(): number | undefined {
    const { waiting, longestWaitMs } = this.#line.state();
    return waiting === 0
      ? undefined
      : Math.max(0, Math.round(this.#clock.wallMs() - longestWaitMs));
  }

  /** What it holds for those that it has offered it to. */
  get offers(): number {
    return this.#line.state().offers;
  }

  /** It is connected to a manager that counts what users hold. */
  get hasManager(): boolean {
    return this.#quota?.hasManager ?? false;
  }

  /** Host processes that run. */
  get hostCount(): number {
    return this.#witness.hostCount;
  }

  get clock(): ActorClock {
    return this.#clock;
  }

  /** Its hosts start, load and go on from now on. */
  behave(): void {
    this.#troubles = { slowStart: 0, failedLoad: 0, hungLoad: 0, budget: 0, former: 0 };
  }

  get leaving(): boolean {
    return this.#leaving;
  }

  /** It grants no leases, as the manager cannot keep the bill. */
  get refuses(): boolean {
    return this.#refusal !== null;
  }

  /** Everything is handed in. */
  get settled(): boolean {
    return this.#keeper?.unsavedCount === 0;
  }

  /** The leases that are alive. */
  leaseNames(): string[] {
    return [...this.#leases.keys()].map((id) => `${this.name}/${id}`);
  }

  /** Throws when what the node believes and what is true differ. */
  check(): void {
    if (this.alive) this.#witness.check(this.#book, this.#lineWitness, this.#clock.nowNs());
  }

  /** Throws when a lease has outlived its time. */
  inspect(): void {
    if (!this.alive || this.paused) return;
    const now = this.#clock.nowNs();
    const awakeSince = this.#clock.at(Math.max(0, this.pausedUntilNs));
    for (const { witness } of this.#leases.values()) witness.inspect(now, awakeSince);
    this.#lineWitness.inspect(now, awakeSince);
  }

  watch(events: AgentEvents): void {
    this.#events = events;
  }

  refuse(reason: string | null): void {
    this.#refusal = reason;
    this.#line.serve();
  }

  /** The node is wanted back. */
  revoke(deadlineMs: number): void {
    if (!this.alive) return;
    this.world.trace.note(this.name, "drains within ms", deadlineMs);
    this.#witness.drained = true;
    const atNs = this.#clock.nowNs();
    const deadlineNs = atNs + deadlineMs * MS;
    const event: LeaseEvent = { kind: "revoked", atNs, deadlineNs };
    for (const { witness } of this.#leases.values()) witness.wantedBack(atNs, deadlineNs);
    const due = this.#book.drain(atNs, deadlineNs);
    this.#line.serve();
    for (const { lease, effects } of due) this.#do(this.#leases.get(lease)!, event, effects);
    this.#timers.schedule();
    this.#events?.capacity();
  }

  resume(): void {
    if (!this.alive || this.#leaving) return;
    this.#book.resume();
    this.#witness.drained = false;
    this.#events?.capacity();
  }

  /** Stops in good order: ends its leases, hands in its bills, goes. */
  leave(): void {
    if (!this.alive || this.#leaving) return;
    this.world.trace.note(this.name, "leaves");
    this.#leaving = true;
    this.#book.draining = true;
    this.#witness.drained = true;
    this.#line.serve();
    for (const lease of this.#leases.values()) this.#end(lease, { kind: "node-stopped" });
    this.#goWhenEmpty();
  }

  /** The host of a lease is killed from outside. */
  killHost(): void {
    const running = [...this.#leases.values()].filter(({ host }) => !host.gone);
    if (!this.alive || running.length === 0) return;
    const lease = this.world.random.pick(running);
    this.world.trace.note(this.name, "loses the host of lease", lease.id);
    this.#hostGone(lease);
  }

  accepted(socket: Socket): SocketEvents {
    return {
      received: (message) => this.#received(socket, message as ToNode),
      lost: () => {
        this.#lineWitness.left(socket, this.#clock.nowNs());
        this.#line.leave(socket);
        this.#lineWitness.checkLeft(socket);
        for (const lease of this.#leases.values())
          if (lease.client === socket) this.#end(lease, { kind: "client-gone" });
      },
    };
  }

  protected started(): void {
    const { world, name, memoryBytes } = this;
    this.#instances++;
    this.#clock = new ActorClock(world, this);
    this.#book = newBook(world.bug, this.#cpus, memoryBytes);
    this.#timers = this.#newTimers();
    this.#line = this.#newLine();
    this.#refusal = null;
    this.#leaving = false;
    world.network.poweredOn(this);
    const quota = new NodeQuota(world.bug, this.instance, this.#clock, world.quotas, (user, inMs) =>
      this.#spent(user, inMs),
    );
    this.#quota = quota;
    this.#keeper = new Bookkeeper(
      bookedBy(world.bug, this),
      { useKey() {} },
      {
        manager: "manager:1",
        name,
        address: `${name}:1`,
        memoryBytes,
        fabrics: [],
        removalLimitMs: REMOVAL_LIMIT_MS,
        quota,
        instance: this.instance,
        clock: keeperClock(world.bug, this.#clock),
        random: () => world.random.fraction(),
        dial: dialOver(world, this, this.#manager, this.#listener(quota)),
        log: (_, message) => world.trace.note(name, message),
      },
    );
  }

  protected died(): void {
    this.#witness.reset();
    this.#lineWitness.reset();
    this.#quota?.died();
    const atNs = this.#clock.nowNs();
    for (const { host } of this.#leases.values()) host.gone = true;
    for (const witness of this.#unsettled) witness.orphan(atNs);
    this.#unsettled.clear();
    this.#leases.clear();
    this.#events = undefined;
  }

  #newTimers(): LeaseTimers {
    return newTimers(
      this.world.bug,
      this.#book,
      {
        lease: (id) => {
          const lease = this.#leases.get(id);
          return (
            lease && { wasUsed: () => wasUsed(lease), advance: (event) => this.#tell(lease, event) }
          );
        },
        due: (all) => {
          const event: LeaseEvent = { kind: "time", atNs: this.#clock.nowNs() };
          for (const { lease, effects } of all) this.#do(this.#leases.get(lease)!, event, effects);
        },
        meter: () => this.#readMeters(),
      },
      this.#clock,
      METER_INTERVAL_MS,
    );
  }

  /** What the manager has confirmed must be in its ledger. */
  #listener(quota: NodeQuota): Listener {
    /** Final ones that it was sent, by the number of their request. */
    const sent = new Map<number, LeaseWitness[]>();
    const { leases } = this.world.witness;
    return {
      sent(message) {
        quota.sent(message);
        if (message.t !== "report-usage") return;
        const ended = message.reports.filter(({ endedAtMs }) => endedAtMs !== null);
        sent.set(
          message.id,
          ended.map(({ lease }) => leases.get(lease)!),
        );
      },
      arrives: (message) => {
        quota.arrives(message);
        if (message.t !== "report-usage-reply" || !("ledger" in message)) return;
        for (const witness of sent.get(message.id) ?? []) {
          witness.settledIn = message.ledger;
          this.#unsettled.delete(witness);
        }
        sent.delete(message.id);
      },
    };
  }

  #received(socket: Socket, said: ToNode): void {
    const atNs = this.#clock.nowNs();
    switch (said.t) {
      case "allocate":
        return this.#allocate(socket, said);
      case "wait-in-line":
        return this.#waitInLine(socket, said);
      case "withdraw":
        this.#lineWitness.left(socket, atNs, said.id);
        this.#line.leave(socket, said.id);
        this.#lineWitness.checkLeft(socket, said.id);
        for (const lease of this.#leases.values())
          if (lease.client === socket && lease.request === said.id)
            this.#end(lease, { kind: "released" });
        return;
      case "redeem":
        this.#hear(socket, said.lease, { kind: "redeemed", atNs });
        return this.#timers.schedule();
      case "renew":
        return this.#renew(socket, said.lease, said.ttlMs);
      case "release":
        if (this.#leases.get(said.lease)?.client !== socket)
          return socket.send({ t: "released", lease: said.lease });
        return this.#hear(socket, said.lease, {
          kind: "ended",
          atNs,
          reason: { kind: "released" },
        });
      case "ask-status":
        return socket.send({
          t: "status",
          id: said.id,
          freeCores: this.#book.freeCores,
          freeMemoryBytes: this.#book.freeMemoryBytes,
          leases: this.#book.size,
        });
    }
  }

  #newLine(): WaitingLine {
    const { book, clock } = { book: this.#book, clock: this.#clock };
    return newLine(
      this.world.bug,
      clock,
      (share) => {
        this.#lineWitness.letGo(share, clock.nowNs());
        book.letGo(share);
      },
      () => this.#events?.capacity(),
    );
  }

  #waitInLine(client: Socket, asked: Extract<ToNode, { t: "wait-in-line" }>): void {
    const { id, workers, atLeast, coresPerWorker, memoryBytes, waitMs, waitedMs } = asked;
    const { holdMs, isPart, user, weight, beganAtMs, claims } = asked;
    const deny = ({ code, message, limit }: RequestRefused) =>
      client.send({ t: "denied", id, code: String(code), message, limit });
    if (!this.#book.canEverHold(atLeast * coresPerWorker, memoryBytes))
      return deny(new RequestRefused("RFAAS_NODE_FULL", "the node never has so much"));
    const nowNs = this.#clock.nowNs();
    const wanted = { workers, atLeast, coresPerWorker, memoryBytes };
    const untilNs = nowNs + waitMs * MS;
    const whose = { client, id, user, weight };
    const age = { waitedMs, beganAtMs, atNs: this.world.schedule.nowNs };
    const place: PlaceSeen = { ...whose, ...wanted, ...age, holdMs, isPart, untilNs };
    const line = this.#line;
    const book = this.#book;
    const clock = this.#clock;
    this.#lineWitness.joins(place, nowNs);
    line
      .place(
        { client, user, weight, request: id, waitMs },
        {
          ...{ ...wanted, waitedMs, beganAtMs, holdMs, isPart },
          recall: () => {
            this.#lineWitness.recalls(clock.nowNs());
            client.send({ t: "recall", id });
          },
          hold: (room) => {
            if (this.#refusal !== null)
              throw new RequestRefused("RFAAS_NODE_REFUSES", this.#refusal);
            if (book.draining) throw new RequestRefused("RFAAS_NODE_DRAINING", DRAINING);
            const least = { cores: room.atLeast * coresPerWorker, memoryBytes: room.memoryBytes };
            try {
              this.#checkQuota({ user, claims }, least);
            } catch (error) {
              // Others are served at once.
              this.#lineWitness.leaves(place, clock.nowNs());
              throw error;
            }
            const held = book.hold(room);
            if (held) this.#lineWitness.offered(place, held, clock.nowNs());
            return held;
          },
          offered: (offered) =>
            client.send({ t: "offered", id, workers: offered, last: offered === workers }),
        },
      )
      .catch((error: RequestRefused) => {
        if (!(error instanceof RequestRefused)) throw error;
        if (line !== this.#line) return;
        this.#lineWitness.leaves(place, clock.nowNs());
        deny(error);
      })
      .catch((error: unknown) => this.world.failed(error));
  }

  #allocate(client: Socket, asked: Extract<ToNode, { t: "allocate" }>): void {
    const { id, workers, coresPerWorker, memoryBytes, offer, user, weight } = asked;
    if (offer !== undefined) this.#lineWitness.left(client, this.#clock.nowNs(), offer);
    this.#line
      .turn(
        { client, user, weight, request: id, waitMs: 0 },
        { cores: workers * coresPerWorker, memoryBytes, offer },
        () => this.#grantTo(client, asked),
      )
      .catch((error: unknown) => {
        if (!(error instanceof RequestRefused)) return this.world.failed(error);
        const { code, message, limit } = error;
        client.send({ t: "denied", id, code, message, limit });
      });
  }

  #grantTo(client: Socket, asked: Extract<ToNode, { t: "allocate" }>): void {
    const { id, workers, coresPerWorker, memoryBytes, ttlMs, user, weight, claims } = asked;
    if (this.#refusal !== null) throw new RequestRefused("RFAAS_NODE_REFUSES", this.#refusal);
    const wanted = { cores: workers * coresPerWorker, memoryBytes };
    this.#checkQuota({ user, claims }, wanted);
    const grantedAtNs = this.#clock.nowNs();
    const ttlNs = ttlMs * MS;
    const granted = this.#book.request(
      { workers, coresPerWorker, memoryBytes, ttlNs, loadLimitNs: LOAD_LIMIT_NS },
      grantedAtNs,
    );
    if (typeof granted === "string")
      throw new RequestRefused(this.draining ? "RFAAS_NODE_DRAINING" : "RFAAS_NODE_FULL", granted);
    if (asked.offer === undefined) this.#lineWitness.checkPassed(grantedAtNs);
    this.world.trace.note(this.name, "grants to", client.peer!.owner.name);
    const key = `${this.instance}/${granted.lease}`;
    const witness = new LeaseWitness(key, user, granted.share, { grantedAtNs, ttlNs });
    const { random } = this.world;
    const budgeted = random.chance(this.#troubles.budget);
    const lease: NodeLease = {
      id: granted.lease,
      request: id,
      client,
      user,
      workers,
      coresPerWorker,
      host: new Host(),
      witness,
      use: this.#line.take({ user, weight }, workers * coresPerWorker),
      seenUse: this.#lineWitness.takes({ user, weight }, workers * coresPerWorker, grantedAtNs),
      startedAtMs: this.#clock.wallMs(),
      budgetCoreNs: budgeted ? workers * random.between(1 * MS, 3 * S) : Infinity,
      announced: false,
      allowed: false,
      seenCalls: 0,
    };
    this.world.witness.granted(witness);
    this.#witness.take(witness);
    this.#unsettled.add(witness);
    this.#leases.set(lease.id, lease);
    this.#quota!.take(lease.id, { user, claims }, wanted);
    this.#timers.schedule();
    this.#timers.startMeters();
    this.#events?.capacity();
    this.#reserve(lease, { user, claims }).catch((error: unknown) => this.world.failed(error));
  }

  /** Throws when the node knows that the user may not hold so much more. */
  #checkQuota(whose: Whose, wanted: { cores: number; memoryBytes: number }): void {
    const over = this.#quota!.refusal(whose, wanted);
    if (over) throw new RequestRefused("RFAAS_TOKEN_LIMIT", over.why, { limit: over.limit });
  }

  /** A host starts for what its user may hold in the whole cluster. */
  async #reserve(lease: NodeLease, whose: Whose): Promise<void> {
    const quota = this.#quota!;
    const over = await quota.reserve(lease.id, whose);
    // It may have ended meanwhile, or the node has.
    if (this.#leases.get(lease.id) !== lease || lease.witness.over) return;
    if (over) return this.#takeBack(lease, over);
    lease.allowed = true;
    // It is on the bill however soon the node dies.
    this.#bill(lease, undefined);
    this.#startHost(lease);
  }

  /** No lease after all, and no bill. */
  #takeBack(lease: NodeLease, { why, limit }: OverLimit): void {
    const { id, request, client, witness } = lease;
    this.world.trace.note(this.name, "takes back lease", id);
    const reason = { kind: "load-failed" } as const;
    this.#book.advance(id, { kind: "ended", atNs: this.#clock.nowNs(), reason });
    lease.host.gone = true;
    this.#witness.stopped(witness);
    this.world.witness.refused(witness);
    this.#unsettled.delete(witness);
    this.#letGo(lease);
    client.send({ t: "denied", id: request, code: "RFAAS_TOKEN_LIMIT", message: why, limit });
  }

  /** The core-hours of a user are used up in so long. */
  #spent(user: string, inMs: number): void {
    const atNs = this.#clock.nowNs();
    const deadlineNs = atNs + inMs * MS;
    for (const lease of this.#leases.values()) {
      const state = this.#book.state(lease.id);
      if (lease.user !== user || !lease.allowed || state?.phase === "ended") continue;
      // It is said again, when its client has the lease.
      if (state?.phase === "granted" && inMs > 0) continue;
      // It has heard so.
      if (state?.phase === "revoking" && state.deadlineNs <= deadlineNs + 1 * S) continue;
      this.#tell(lease, { kind: "revoked", atNs, deadlineNs, by: "over-quota" });
    }
    this.#timers.schedule();
  }

  #startHost(lease: NodeLease): void {
    const { random } = this.world;
    const delayNs = random.chance(this.#troubles.slowStart)
      ? random.between(100 * MS, 2 * S)
      : random.between(500 * US, 5 * MS);
    if (random.chance(this.#troubles.failedLoad))
      return void this.after(delayNs, "cannot start a host", () =>
        this.#end(lease, { kind: "load-failed" }),
      );
    if (random.chance(this.#troubles.hungLoad)) return;
    this.after(delayNs, "has loaded a module", () => {
      if (!lease.host.gone) this.#tell(lease, { kind: "loaded", atNs: this.#clock.nowNs() });
    });
  }

  #renew(socket: Socket, id: number, ttlMs: number | null): void {
    const atNs = this.#clock.nowNs();
    this.#hear(socket, id, {
      kind: "renewed",
      atNs,
      ...(ttlMs === null ? {} : { ttlNs: ttlMs * MS }),
    });
    const state = this.#book.state(id);
    if (state?.phase !== "active" && state?.phase !== "revoking") return;
    socket.send({ t: "renewed", lease: id, expiresInMs: (termEndNs(state) - atNs) / MS });
    this.#timers.schedule();
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
  }

  #do(lease: NodeLease, event: LeaseEvent, effects: readonly LeaseEffect[]): void {
    lease.witness.told(event, effects);
    for (const effect of effects) this.#perform(lease, effect);
  }

  #perform(lease: NodeLease, effect: LeaseEffect): void {
    const { id, client, host } = lease;
    this.world.trace.note(this.name, effect, id);
    switch (effect) {
      case "announce-grant":
        return this.#grant(lease);
      case "announce-revocation": {
        const state = this.#book.state(id);
        if (state?.phase !== "revoking") return;
        const deadlineInMs = Math.max(0, (state.deadlineNs - this.#clock.nowNs()) / MS);
        client.send({ t: "revoking", lease: id, deadlineInMs });
        return this.#timers.schedule();
      }
      case "announce-loss":
        return this.#announceLoss(lease);
      case "stop-host":
        if (host.gone) return;
        return void this.after(
          this.world.random.between(100 * US, 30 * MS),
          "sees a host exit",
          () => this.#hostGone(lease),
        );
      case "return-capacity":
        if (host.gone) this.#finish(lease);
    }
  }

  #grant(lease: NodeLease): void {
    const { id, request, client, host } = lease;
    const state = this.#book.state(id);
    if (state?.phase !== "active") return;
    lease.announced = true;
    const expiresInMs = state.ttlNs / MS;
    client.send({ t: "granted", id: request, lease: id, host, expiresInMs });
    this.#timers.schedule();
  }

  #announceLoss({ id, request, client, announced }: NodeLease): void {
    const state = this.#book.state(id);
    if (state?.phase !== "ended") return;
    const { reason } = state;
    const message = describeEnd(reason);
    if (announced) return client.send({ t: "lost", lease: id, message });
    const code = reason.kind === "load-failed" ? "RFAAS_NODE_FAILED" : "RFAAS_NODE_LOST";
    client.send({ t: "denied", id: request, code, message });
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
    const { id, client, witness, host } = lease;
    const state = this.#book.state(id)!;
    if (state.phase !== "ended") return;
    witness.gone(host.calls, this.#clock.nowNs());
    this.#bill(lease, { atMs: this.#clock.wallMs(), reason: state.reason.kind });
    this.#letGo(lease);
    client.send({ t: "released", lease: id });
  }

  /** What it had is free for others. */
  #letGo(lease: NodeLease): void {
    const { id, witness } = lease;
    this.#book.free(id);
    this.#witness.give(witness);
    this.#quota!.giveBack(id);
    this.#line.give(lease.use);
    this.#lineWitness.gives(lease.seenUse, this.#clock.nowNs());
    this.#leases.delete(id);
    // A second notice of the same exit must do nothing.
    this.#book.free(id);
    this.#line.serve();
    this.#events?.capacity();
    if (this.#book.size === 0) this.#timers.rest();
    this.#goWhenEmpty();
  }

  #usage({ id, workers, coresPerWorker, host: { calls, executionNs } }: NodeLease): Usage {
    const cores = workers * coresPerWorker;
    const allocationCoreNs = allocatedCoreNs(this.#book.state(id)!, cores, this.#clock.nowNs());
    return { allocationCoreNs, executionNs, pollingNs: 0, calls, bytes: 64 * calls };
  }

  #bill(lease: NodeLease, ended: LeaseBill["ended"]): void {
    const { id, user, workers, coresPerWorker, startedAtMs } = lease;
    const usage = this.#usage(lease);
    const whose = { lease: id, user, project: undefined };
    this.#events?.usage({ ...whose, workers, coresPerWorker, startedAtMs, usage, ended });
  }

  #readMeters(): void {
    for (const lease of this.#leases.values()) {
      if (!lease.allowed || this.#book.state(lease.id)?.phase === "ended") continue;
      const { allocationCoreNs } = this.#usage(lease);
      if (allocationCoreNs >= lease.budgetCoreNs) this.#end(lease, { kind: "over-budget" });
      else this.#bill(lease, undefined);
    }
  }

  #goWhenEmpty(): void {
    if (!this.#leaving || this.#leases.size > 0) return;
    const { instance } = this;
    void this.#keeper!.leave().then(() => {
      if (!this.alive || this.instance !== instance) return;
      this.world.trace.note(this.name, "has left");
      this.kill(false);
    });
  }
}

/** Whether there were calls since this was asked last. */
function wasUsed(lease: NodeLease): boolean {
  const used = lease.host.calls !== lease.seenCalls;
  lease.seenCalls = lease.host.calls;
  return used;
}

/**
 * The agent: the node's supervising process, the only authority over its cores and memory. It grants leases to clients,
 * pairs each with a host, and takes everything back however a lease ends. User code never runs here.
 */
import { adoptOrphans } from "../../../ffi/children.ts";
import { LAYOUT, type Polling } from "../../../ffi/layout.ts";
import { LeaseLost } from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import type { FabricOffer } from "../../fabric/fabric.ts";
import { namesOf } from "../../fabric/registry.ts";
import { type Due, LeaseBook } from "../../lease/book.ts";
import { Capacity, type Share } from "../../lease/capacity.ts";
import { type LeaseEffect, termEndNs } from "../../lease/lease.ts";
import { packageNamed } from "../../package/contents/manifest.ts";
import { type Answer, type Handlers, answering } from "../../control/requests.ts";
import type { MessageOf, ReplyOf } from "../../protocol/declare.ts";
import type { Allocate, Renew } from "../../protocol/lease-messages.ts";
import { type Leases, type NodeMessage, greetedMessages } from "../../protocol/messages.ts";
import type { Usage } from "../../protocol/usage.ts";
import { shortage } from "../../base/shortage.ts";
import { HostPool } from "./host-pool.ts";
import { HostProcess } from "./host-process.ts";
import { type Identity, rightLeftMs } from "../admission/identity.ts";
import { listLeases } from "./lease-listing.ts";
import { LeaseNotes } from "./lease-notes.ts";
import { LeaseTimers } from "./lease-timers.ts";
import { type LeaseEvents, LeasedHost } from "./leased-host.ts";
import { findModule } from "../packages/module-source.ts";
import type { PackageUse } from "../packages/cache.ts";
import { PackageIntake } from "../packages/intake.ts";
import type { PackageStore } from "../packages/store.ts";
import { Quota } from "../admission/quota.ts";
import { type Client, type ClientConnection, type ClientWay, Reception } from "./reception.ts";

export interface AgentOptions {
  /** CPUs to lease; -1 stands for a core that workers are not pinned to. */
  cpus: readonly number[];
  memoryBytes: number;
  /** For leases that do not say how to wait. */
  polling: Polling;
  /** Hosts kept waiting. */
  prewarm: number;
  fabrics: readonly FabricOffer[];
  packages: PackageStore;
  /** Who a client is; `trusted` when it came over a way that only the node's own user has. */
  identify(token: string | null, trusted: boolean): Promise<Identity | { refused: string }>;
  log(level: "info" | "warn", message: string): void;
}

/** What the node tells whoever keeps its books. */
export interface AgentEvents {
  /** Free cores, free memory or the number of leases may have changed. */
  capacity(): void;
  /** What a lease has used so far; with `ended` for the last time. */
  usage(bill: LeaseBill): void;
}

export interface LeaseBill {
  lease: number;
  user: string;
  workers: number;
  coresPerWorker: number;
  startedAtMs: number;
  usage: Usage;
  /** Undefined while the lease goes on. */
  ended: { atMs: number; reason: string } | undefined;
}

/** Spin budgets when a lease names none: a little more than one wake-up, after which a waiting client blocks too. */
const DEFAULT_SPIN_NS: Record<Polling, number> = { hot: 0, warm: 50_000, adaptive: 50_000 };
/** Threads that each waiting host has ready; a lease of more workers starts the rest. */
const MAX_PREWARMED_WORKERS = 4;
/** No module may take longer to load, whatever its client says. */
const MAX_LOAD_MS = 600_000;
/** A host may take this long to start, on a machine that swaps. */
const START_LIMIT_NS = 20e9;
export class Agent {
  readonly #options: AgentOptions;
  readonly #capacity: Capacity;
  readonly #book: LeaseBook;
  readonly #pool: HostPool<HostProcess>;
  readonly #reception: Reception;
  readonly #packages: PackageIntake;
  readonly #leases = new Map<number, Leased>();
  readonly #timers: LeaseTimers;
  #events: AgentEvents | undefined;
  readonly #quota = new Quota();
  #stopping = false;
  #refusal: string | null = null;
  #onIdle: (() => void) | undefined;

  constructor(options: AgentOptions) {
    adoptOrphans();
    this.#options = options;
    this.#capacity = new Capacity(options.cpus, options.memoryBytes);
    this.#book = new LeaseBook(this.#capacity);
    this.#packages = new PackageIntake(options.packages, options.log);
    const heard = answering(greetedMessages, this.#handlers(), {
      // Answers are what a node says.
      send: (answer, client) => client.connection.send(answer as NodeMessage),
    });
    this.#reception = new Reception(
      {
        cores: this.#capacity.totalCores,
        memoryBytes: this.#capacity.totalMemoryBytes,
        fabrics: options.fabrics,
        identify: options.identify,
        log: options.log,
      },
      {
        message: (client, message) => heard(message, client),
        gone: (client) => {
          this.#packages.gone(client);
          for (const leased of this.#leases.values())
            if (leased.client === client) leased.lease.end({ kind: "client-gone" });
        },
      },
    );
    this.#timers = new LeaseTimers(this.#book, {
      lease: (id) => this.#leases.get(id)?.lease,
      due: (all) => this.#perform(all),
      meter: () => this.#readMeters(),
    });
    const prewarmedWorkers = Math.min(options.cpus.length, MAX_PREWARMED_WORKERS);
    this.#pool = new HostPool({
      size: options.prewarm,
      spawn: () => HostProcess.spawn(prewarmedWorkers, namesOf(options.fabrics)),
      log: options.log,
    });
  }

  /** From now on `events` hears of capacity and of bills. */
  watch(events: AgentEvents): void {
    this.#events = events;
  }

  get cores(): number {
    return this.#capacity.totalCores;
  }

  get free(): { cores: number; memoryBytes: number } {
    return { cores: this.#book.freeCores, memoryBytes: this.#book.freeMemoryBytes };
  }

  get draining(): boolean {
    return this.#book.draining;
  }

  /** Grants no more leases, lets the present ones end for at most `limitMs`, then ends them. Resolves when all hosts are gone. */
  async drain(limitMs: number): Promise<void> {
    this.#stopping = true;
    this.revoke(limitMs);
    if (this.#book.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    this.#timers.rest();
    await this.#pool.close();
  }

  /** Grants no more leases, and takes the present ones back when `limitMs` have passed. */
  revoke(limitMs: number): void {
    const now = Bun.nanoseconds();
    const due = this.#book.drain(now, now + limitMs * 1e6);
    this.#reception.tellAll({ t: "draining" });
    this.#perform(due);
    this.#events?.capacity();
  }

  /** Grants no more leases for a `reason`, or with null grants them again. Those that there are go on. */
  refuse(reason: string | null): void {
    this.#refusal = reason;
  }

  /** Grants leases again, unless it is stopping. */
  resume(): void {
    if (this.#stopping) return;
    this.#book.resume();
    this.#events?.capacity();
  }

  /** Ends all leases now. */
  stop(): void {
    for (const { lease } of this.#leases.values()) lease.end({ kind: "node-stopped" });
  }

  /** Leases of the module that was made of the file `origin` go over to a package of the cache. Returns how many there are. */
  async reload(origin: string, hash: string): Promise<number> {
    let reloaded = 0;
    for (const { lease } of [...this.#leases.values()]) {
      if (lease.request.origin !== origin) continue;
      const module = await findModule(this.#options.packages, `package:${hash}`);
      if ("code" in module) continue;
      if (!this.#leases.has(lease.id)) {
        module.end();
        continue;
      }
      lease.reload(module);
      reloaded++;
    }
    return reloaded;
  }

  get leaseCount(): number {
    return this.#book.size;
  }

  /** A connection for one client; its handler goes to the socket. */
  newClient(onClosed: () => void = () => {}, way: ClientWay = {}): ClientConnection {
    return this.#reception.newClient(onClosed, way);
  }

  #handlers(): Handlers<typeof greetedMessages, Client> {
    return {
      ...this.#packages.handlers,
      allocate: (request, client, answer) => void this.#allocate(client, request, answer),
      withdraw: ({ request }, client) => {
        client.starting.delete(request);
        for (const leased of this.#leases.values())
          if (leased.client === client && leased.request === request)
            leased.lease.end({ kind: "released" });
      },
      release: async ({ lease: id }, client) => {
        const leased = this.#leaseOf(client, id);
        leased?.lease.end({ kind: "released" });
        await leased?.over.promise;
        return {};
      },
      redeem: ({ lease }, client) => {
        const atNs = Bun.nanoseconds();
        this.#leaseOf(client, lease)?.lease.advance({ kind: "redeemed", atNs });
        this.#timers.schedule();
      },
      renew: ({ lease, ttlMs }, client) => this.#renew(client, lease, ttlMs),
      "get-usage": ({ lease }, client) => {
        const leased = this.#leaseOf(client, lease);
        if (!leased) throw leaseOver();
        return { usage: leased.lease.usage() };
      },
      cancel: ({ lease, worker, slot, sequence, gently }, client) =>
        this.#leaseOf(client, lease)?.lease.cancel(worker, slot, sequence, gently ?? false),
      "get-status": () => ({
        freeCores: this.#book.freeCores,
        freeMemoryBytes: this.#book.freeMemoryBytes,
        leases: this.#book.size,
        prewarmedHosts: this.#pool.readyCount,
      }),
      "list-leases": (_, client) => this.#list(client),
    };
  }

  #leaseOf(client: Client, id: number): Leased | undefined {
    const leased = this.#leases.get(id);
    return leased?.client === client ? leased : undefined;
  }

  #list(client: Client): Leases {
    const { freeCores, freeMemoryBytes, draining } = this.#book;
    const shown = listLeases(this.#leases.values(), client, (id) => this.#book.state(id));
    return { draining, freeCores, freeMemoryBytes, total: this.#leases.size, shown };
  }

  async #allocate(
    client: Client,
    request: MessageOf<typeof Allocate>,
    answer: Answer<typeof Allocate>,
  ): Promise<void> {
    const started = Bun.nanoseconds();
    const deny = (code: string, message: string): void => answer.fail(code, message);

    if (this.#refusal !== null) return deny("RFAAS_NODE_REFUSES", this.#refusal);
    const { workers, slots, coresPerWorker = 1 } = request;
    const cores = workers * coresPerWorker;
    if (workers > LAYOUT.maxWorkers)
      return deny(
        "RFAAS_NODE_FULL",
        `a lease has at most ${LAYOUT.maxWorkers} workers; take several leases`,
      );
    if (slots > LAYOUT.maxSlots || (slots & (slots - 1)) !== 0)
      return deny(
        "RFAAS_USAGE",
        `slots must be a power of two up to ${LAYOUT.maxSlots}; it is ${slots}`,
      );
    const offer = this.#offerTo(client, request.fabric);
    if (!offer)
      return deny(
        "RFAAS_NO_SHARED_FABRIC",
        `the node does not serve ${request.fabric} to this client`,
      );
    if (offer.fabric.sharesMemory && !request.mailbox)
      return deny("RFAAS_PROTOCOL", "a lease over shared memory needs a mailbox");
    const { user } = client.identity;
    const leftMs = rightLeftMs(client.identity);
    if (leftMs <= 0)
      return deny(
        "RFAAS_FORBIDDEN",
        `the token of ${user} has expired; connect again with a new one (rfaas token create --user ${user})`,
      );
    const overQuota = this.#quota.refusal(client.identity, cores);
    if (overQuota !== null) return deny("RFAAS_TOKEN_LIMIT", overQuota);
    // The host keeps the limit itself, and says more; but the node must not depend on it.
    const loadLimitNs = Math.min(request.loadTimeoutMs, MAX_LOAD_MS) * 1e6 + START_LIMIT_NS;
    const booked = this.#book.request(
      {
        workers,
        coresPerWorker,
        memoryBytes: request.memoryBytes,
        ttlNs: request.ttlMs * 1e6,
        loadLimitNs,
        untilNs: started + leftMs * 1e6,
      },
      started,
    );
    if (typeof booked === "string")
      return deny(this.#book.draining ? "RFAAS_NODE_DRAINING" : "RFAAS_NODE_FULL", booked);
    this.#quota.take(user, cores);
    client.starting.add(request.id);
    // After the booking: a node that is full says so before it asks for a package.
    const module = await findModule(this.#options.packages, request.module);
    if ("code" in module) {
      client.starting.delete(request.id);
      this.#giveUp(booked.lease, user, cores);
      return deny(module.code, module.message);
    }
    const hash = packageNamed(request.module);
    if (hash !== undefined) this.#packages.used(client, hash);
    this.#timers.schedule();
    this.#events?.capacity();

    let taken: { host: HostProcess; prewarmed: boolean } | undefined;
    let lease: LeasedHost;
    try {
      taken = await this.#pool.take();
      const notes = new LeaseNotes(client, request, answer, module.name, this.#options.log, {
        prewarmed: taken.prewarmed,
        startedNs: started,
        hostReadyNs: Bun.nanoseconds(),
      });
      lease = this.#newLease(client, request, module, booked, taken.host, notes);
    } catch (error) {
      client.starting.delete(request.id);
      taken?.host.kill();
      module.end();
      this.#giveUp(booked.lease, user, cores);
      return deny("RFAAS_NODE_FAILED", explainAllocationFailure(error));
    }
    const over = Promise.withResolvers<void>();
    this.#leases.set(lease.id, { lease, client, request: request.id, over });
    const wanted = client.starting.delete(request.id);
    // The node may have been told to drain while a host was started.
    if (this.#book.state(lease.id)?.phase === "ended") return lease.perform(ENDED_EARLY);
    // The client may have gone, or changed its mind, while a host was started.
    if (!this.#reception.has(client)) return lease.end({ kind: "client-gone" });
    if (!wanted) return lease.end({ kind: "released" });
    try {
      lease.attach();
    } catch (error) {
      deny("RFAAS_NODE_FAILED", explainAllocationFailure(error));
      lease.end({ kind: "load-failed" });
    }
  }

  #renew(client: Client, id: number, ttlMs: number | null): ReplyOf<typeof Renew> {
    const atNs = Bun.nanoseconds();
    this.#leaseOf(client, id)?.lease.advance({
      ...{ kind: "renewed", atNs },
      ...(ttlMs === null ? {} : { ttlNs: ttlMs * 1e6 }),
    });
    const state = this.#book.state(id);
    if (!this.#leaseOf(client, id) || (state?.phase !== "active" && state?.phase !== "revoking"))
      throw leaseOver();
    this.#timers.schedule();
    return { expiresInMs: (termEndNs(state) - atNs) / 1e6 };
  }

  #perform(all: readonly Due[]): void {
    // A lease whose host is still being started looks at its own state then.
    for (const { lease, effects } of all) this.#leases.get(lease)?.lease.perform(effects);
  }

  /** Nothing is leased: nothing needs a timer. */
  #rest(): void {
    this.#timers.rest();
    this.#onIdle?.();
  }

  #readMeters(): void {
    for (const { lease, client } of this.#leases.values()) {
      const phase = this.#book.state(lease.id)?.phase;
      if (phase !== "active" && phase !== "revoking") continue;
      this.#bill(lease, client, lease.usage(), undefined);
    }
  }

  #bill(lease: LeasedHost, client: Client, usage: Usage, ended: LeaseBill["ended"]): void {
    this.#events?.usage({
      lease: lease.id,
      user: client.identity.user,
      workers: lease.shape.workers,
      coresPerWorker: lease.coresPerWorker,
      startedAtMs: lease.startedAtMs,
      usage,
      ended,
    });
  }

  /** No host could be started for it. */
  #giveUp(id: number, user: string, cores: number): void {
    this.#book.advance(id, {
      kind: "ended",
      atNs: Bun.nanoseconds(),
      reason: { kind: "load-failed" },
    });
    this.#book.free(id);
    this.#quota.giveBack(user, cores);
    this.#events?.capacity();
    if (this.#book.size === 0) this.#rest();
  }

  #offerTo({ fabrics }: Client, name: string): FabricOffer | undefined {
    const there = this.#options.fabrics.find(({ fabric }) => fabric.name === name);
    return there && fabrics.includes(name) ? there : undefined;
  }

  #newLease(
    client: Client,
    request: Allocate,
    module: PackageUse,
    { lease: id, share }: { lease: number; share: Share },
    host: HostProcess,
    notes: LeaseNotes,
  ): LeasedHost {
    const polling = request.polling ?? this.#options.polling;
    const events: LeaseEvents = {
      granted: (lease, nonce, loaded) => {
        notes.granted(lease, nonce, loaded);
        this.#timers.schedule();
        if (this.#events || Object.keys(request.budget).length > 0) this.#timers.startMeters();
      },
      revoking: (lease, deadlineNs) => {
        notes.revoking(lease, deadlineNs);
        this.#timers.schedule();
      },
      denied: (_, code, message, error) => notes.denied(code, message, error),
      lost: (lease, message, signal) => notes.lost(lease, message, signal),
      workerLost: (lease, worker, message) => notes.workerLost(lease, worker, message),
      logged: (lease, line) => notes.logged(lease, line),
      progressed: (lease, report) => notes.progressed(lease, report),
      finished: (lease, usage, reason) => {
        const over = this.#leases.get(lease.id)?.over;
        this.#leases.delete(lease.id);
        this.#quota.giveBack(client.identity.user, lease.share.cpus.length);
        notes.ended(lease, reason);
        this.#bill(lease, client, usage, { atMs: Date.now(), reason: reason.kind });
        this.#events?.capacity();
        over?.resolve();
        if (this.#book.size === 0) this.#rest();
      },
    };
    return new LeasedHost(
      this.#book,
      id,
      request,
      share,
      {
        workers: request.workers,
        slots: request.slots,
        arenaBytes: request.memoryBytes,
        polling,
        spinNs: request.spinNs ?? DEFAULT_SPIN_NS[polling],
      },
      module,
      this.#offerTo(client, request.fabric)?.listenFor(client.reachedAt) ?? null,
      host,
      events,
    );
  }
}

/** What there is of a lease besides its host. */
interface Leased {
  lease: LeasedHost;
  client: Client;
  /** The id of the request that it was granted for. */
  request: number;
  /** Resolves when its share is free. */
  over: PromiseWithResolvers<void>;
}

const leaseOver = (): LeaseLost => new LeaseLost("the lease is over; take a new lease");

/** What is left to do for a lease that was taken back while its host was started. */
const ENDED_EARLY: readonly LeaseEffect[] = ["announce-loss", "stop-host", "return-capacity"];

function explainAllocationFailure(error: unknown): string {
  return (
    shortage(error, "the node") ??
    `the node could not start a host: ${reasonOf(error)}; see the node's log`
  );
}

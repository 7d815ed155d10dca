/** The leases of a node that have a host: their clients, the requests about them, and their cost when they end. */
import { timingSafeEqual } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { LeaseLost } from "../../base/errors.ts";
import type { Due, LeaseBook } from "../../lease/book.ts";
import { type EndReason, type Revoker, termEndNs } from "../../lease/lease.ts";
import type { ReplyOf } from "../../protocol/declare.ts";
import type { Renew, UsageReply } from "../../protocol/lease-messages.ts";
import type { Leases } from "../../protocol/messages.ts";
import type { Usage } from "../../protocol/usage.ts";
import { packageUser } from "../packages/intake.ts";
import { findModule } from "../packages/module-source.ts";
import type { PackageStore } from "../packages/store.ts";
import { listLeases } from "./lease-listing.ts";
import { LeaseTimers, type TimedLeases } from "./lease-timers.ts";
import { LeasedHost } from "./leased-host.ts";
import type { Client } from "./reception.ts";

/** What a lease has cost, and for whom. */
export interface LeaseBill {
  lease: number;
  user: string;
  workers: number;
  coresPerWorker: number;
  /** What it is for; undefined for nothing in particular. */
  project: string | undefined;
  startedAtMs: number;
  usage: Usage;
  /** Undefined while the lease goes on. */
  ended: { atMs: number; reason: string } | undefined;
}

export interface LeaseTableEvents {
  /** Free cores, free memory or the number of leases may have changed. */
  changed(): void;
  /** What a lease has used so far; with `ended` for the last time. */
  billed(bill: LeaseBill): void;
  /** Whether the bookkeeper wants bills of running leases. */
  billsWanted(): boolean;
  /** The last lease has ended. */
  idle(): void;
}

/** Two deadlines for one reason that are no further apart are one. */
const SAME_DEADLINE_NS = 2e9;
/** Of one client. */
const MAX_FINAL = 256;

/** What the table knows of a lease besides its host. */
interface Leased {
  lease: LeasedHost;
  client: Client;
  /** The id of the request that it was granted for. */
  request: number;
  /** Resolves when its client has said that it uses it, or when it is over. */
  attended: PromiseWithResolvers<void>;
  /** Resolves when its share is free. */
  over: PromiseWithResolvers<void>;
}

export class LeaseTable {
  readonly #book: LeaseBook;
  readonly #packages: PackageStore;
  readonly #events: LeaseTableEvents;
  readonly #clock: Clock;
  readonly #leases = new Map<number, Leased>();
  readonly #timers: LeaseTimers;
  /** What leases that are over have used, the last of each client: who has lost one may ask what it cost. */
  readonly #final = new WeakMap<Client, Map<number, Usage>>();

  constructor(book: LeaseBook, packages: PackageStore, events: LeaseTableEvents, clock: Clock) {
    this.#book = book;
    this.#packages = packages;
    this.#events = events;
    this.#clock = clock;
    const timed: TimedLeases = {
      lease: (id) => this.#leases.get(id)?.lease,
      due: (all) => this.perform(all),
      meter: () => this.#readMeters(),
    };
    this.#timers = new LeaseTimers(book, timed, clock);
  }

  /** Brings a connection to the host of the lease with this secret, or public name, of 16 bytes. Returns whether there is one. */
  bring(name: Uint8Array, descriptor: number, greeting: Uint8Array): boolean {
    for (const { lease } of this.#leases.values()) {
      if (!timingSafeEqual(lease.nonce, name) && !timingSafeEqual(lease.publicName, name)) continue;
      void lease.host.bring(lease.nonce, descriptor, greeting);
      return true;
    }
    return false;
  }

  /** Resolves when the clients of all leases have connected, or their leases are over. */
  async attended(): Promise<void> {
    await Promise.all([...this.#leases.values()].map(({ attended }) => attended.promise));
  }

  /** A client withdraws its request for a lease. */
  withdraw(client: Client, request: number): void {
    client.starting.delete(request);
    for (const leased of this.#leases.values())
      if (leased.client === client && leased.request === request)
        leased.lease.end({ kind: "released" });
  }

  /** Resolves when the lease is over; at once when there is no such lease. */
  async release(client: Client, id: number): Promise<void> {
    const leased = this.#leases.get(id);
    if (leased?.client !== client) return;
    leased.lease.end({ kind: "released" });
    await leased.over.promise;
  }

  redeem(client: Client, id: number): void {
    const leased = this.#leases.get(id);
    if (leased?.client !== client) return;
    leased.lease.advance({ kind: "redeemed", atNs: this.#clock.nowNs() });
    leased.attended.resolve();
    this.#timers.schedule();
  }

  /** For how long the lease goes on from now, and what it has used. Throws {@link LeaseLost} when it is over. */
  renew(client: Client, id: number, ttlMs: number | null): ReplyOf<typeof Renew> {
    const lease = this.of(client, id);
    const atNs = this.#clock.nowNs();
    lease?.advance({
      ...{ kind: "renewed", atNs },
      ...(ttlMs === null ? {} : { ttlNs: ttlMs * 1e6 }),
    });
    const state = lease && this.#book.state(id);
    if (!lease || (state?.phase !== "active" && state?.phase !== "revoking")) throw leaseOver();
    lease.hostWatch.want();
    this.#timers.schedule();
    return { expiresInMs: (termEndNs(state) - atNs) / 1e6, usage: lease.usage() };
  }

  /**
   * What a lease has used so far, or in all, when it is over. Rejects with {@link LeaseLost} when the client has had no such lease, or
   * many others since.
   */
  async usage(client: Client, id: number): Promise<UsageReply> {
    const leased = this.#leases.get(id);
    if (leased?.client === client) {
      leased.lease.hostWatch.want();
      if (this.#book.state(id)?.phase !== "ended") return { usage: leased.lease.usage() };
      // What its host computes until it is gone is on the bill.
      await leased.over.promise;
    }
    const usage = this.#final.get(client)?.get(id);
    if (!usage) throw leaseOver();
    return { usage, final: true };
  }

  /** The lease, if it is of this client. */
  of(client: Client, id: number): LeasedHost | undefined {
    const leased = this.#leases.get(id);
    return leased?.client === client ? leased.lease : undefined;
  }

  /** The leases that a client may see. */
  list(client: Client): Leases {
    const book = this.#book;
    const { freeCores, freeMemoryBytes, draining } = book;
    const shown = listLeases(this.#leases.values(), client, (id) => book.state(id));
    return { draining, freeCores, freeMemoryBytes, total: this.#leases.size, shown };
  }

  /** A client's connection has ended. */
  gone(client: Client): void {
    for (const leased of this.#leases.values())
      if (leased.client === client) leased.lease.end({ kind: "client-gone" });
  }

  /** Takes the leases of a client back when `graceMs` have passed, since `by` is so. */
  revoke(client: Client, graceMs: number, by: Revoker): void {
    const atNs = this.#clock.nowNs();
    const revoked = { kind: "revoked", atNs, deadlineNs: atNs + graceMs * 1e6, by } as const;
    for (const { lease, client: its } of this.#leases.values())
      if (its === client && !this.#endsThen(lease.id, revoked)) lease.advance(revoked);
    this.#timers.schedule();
  }

  /** Whether its client has heard so: what is said again and again for the same reason is said once. While a lease still loads its client does not hear of it. */
  #endsThen(
    id: number,
    { atNs, deadlineNs, by }: { atNs: number; deadlineNs: number; by: Revoker },
  ): boolean {
    const state = this.#book.state(id);
    if (state?.phase === "granted") return by === "over-quota" && deadlineNs > atNs;
    if (state?.phase !== "revoking" || state.revokedBy !== by) return false;
    return state.deadlineNs <= deadlineNs + SAME_DEADLINE_NS;
  }

  /** The right of a client to its leases goes on until then. */
  extend(client: Client, untilNs: number): void {
    const event = { kind: "extended", atNs: this.#clock.nowNs(), untilNs } as const;
    for (const leased of this.#leases.values())
      if (leased.client === client) leased.lease.advance(event);
    this.#timers.schedule();
  }

  /** Ends all leases. */
  endAll(reason: EndReason): void {
    for (const { lease } of this.#leases.values()) lease.end(reason);
  }

  /** Reloads the leases of the module built from the file `origin` with a cached package. Returns how many leases that are. */
  async reload(origin: string, hash: string): Promise<number> {
    let reloaded = 0;
    for (const { lease, client } of [...this.#leases.values()]) {
      if (lease.request.origin !== origin) continue;
      const user = packageUser(client.identity);
      const found = await findModule(this.#packages, `package:${hash}`, user);
      if ("code" in found) continue;
      const module = await lease.host.admit(found).catch((error: Error) => error);
      // The host of a lease that is over may be on its way to rest.
      if (!this.#leases.has(lease.id) || this.#book.state(lease.id)?.phase === "ended") {
        found.end();
        continue;
      }
      if (module instanceof Error) {
        found.end();
        lease.end({ kind: "reload-failed", message: module.message });
        continue;
      }
      lease.reload(module);
      reloaded++;
    }
    return reloaded;
  }

  perform(all: readonly Due[]): void {
    // A lease whose host is still being started looks at its own state then.
    for (const { lease, effects } of all) this.#leases.get(lease)?.lease.perform(effects);
  }

  /** Nothing is leased: the timers can stop. */
  rest(): void {
    this.#timers.rest();
  }

  /** The agent took capacity for a lease whose host it is starting, or gave the capacity back because no host started. */
  booked(): void {
    this.#timers.schedule();
    this.#changed();
  }

  /** A lease has a host, and was asked for with this id. */
  add(lease: LeasedHost, client: Client, request: number): void {
    const [attended, over] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const leased = { lease, client, request, attended, over };
    this.#leases.set(lease.id, leased);
    const bounded = Object.keys(lease.request.budget).length > 0;
    const billed = this.#events.billsWanted();
    if (billed || bounded) this.#timers.startMeters();
    // It is on the bill however soon the node dies.
    if (billed) this.#bill(leased, lease.usage(), undefined);
  }

  /** Its client has it. */
  granted(): void {
    this.#timers.schedule();
  }

  revoking(): void {
    this.#timers.schedule();
  }

  finished(lease: LeasedHost, usage: Usage, reason: EndReason, atMs: number): void {
    const leased = this.#leases.get(lease.id)!;
    this.#leases.delete(lease.id);
    this.#keepFinal(leased.client, lease.id, usage);
    this.#bill(leased, usage, { atMs, reason: reason.kind });
    leased.attended.resolve();
    leased.over.resolve();
    this.#changed();
  }

  #changed(): void {
    this.#events.changed();
    if (this.#book.size > 0) return;
    this.rest();
    this.#events.idle();
  }

  #readMeters(): void {
    for (const leased of this.#leases.values()) {
      if (this.#book.state(leased.lease.id)?.phase === "ended") continue;
      this.#bill(leased, leased.lease.usage(), undefined);
    }
  }

  #keepFinal(client: Client, lease: number, usage: Usage): void {
    const kept = this.#final.get(client) ?? new Map<number, Usage>();
    this.#final.set(client, kept.set(lease, usage));
    const [oldest] = kept.keys();
    if (kept.size > MAX_FINAL) kept.delete(oldest!);
  }

  #bill({ lease, client }: Leased, usage: Usage, ended: LeaseBill["ended"]): void {
    this.#events.billed({
      lease: lease.id,
      user: client.identity.user,
      workers: lease.shape.workers,
      coresPerWorker: lease.coresPerWorker,
      project: client.identity.project ?? lease.request.project,
      startedAtMs: lease.startedAtMs,
      usage,
      ended,
    });
  }
}

const leaseOver = (): LeaseLost => new LeaseLost("the lease is over; take a new lease");

/**
 * What must hold, seen from outside: a second, plainer account of cores, leases and bills, kept from what is done and not from
 * what the code under test believes.
 */
import { UNPINNED } from "../../src/executor/machine/cores.ts";
import type { LeaseBook } from "../../src/lease/book.ts";
import type { Share } from "../../src/lease/capacity.ts";
import {
  type EndReason,
  type LeaseEffect,
  type LeaseEvent,
  REDEEM_LIMIT_NS,
} from "../../src/lease/lease.ts";
import type { LedgerModel } from "./ledger.ts";
import type { LineWitness } from "./line-witness.ts";
import { MS, S, violated } from "./world.ts";

/** A lease whose module is not loaded by then must end: it is not renewed. */
export const LOAD_LIMIT_NS = 3 * S;
/** How late a lease may end after its time, by its node's own clock. */
const LATENESS_LIMIT_NS = 20 * MS;

/** One lease, in the words of its node's clock. */
export class LeaseWitness {
  readonly key: string;
  readonly user: string;
  readonly share: Share;
  readonly #grantedAtNs: number;
  #ttlNs: number;
  #activeAtNs: number | undefined;
  #expiresAtNs = Infinity;
  #redeemed = false;
  #deadlineNs = Infinity;
  #endedAtNs: number | undefined;
  /** When its cores were free. */
  #goneAtNs: number | undefined;
  /** What the host had executed when it was gone. */
  #calls: number | undefined;
  #orphaned = false;
  /** Which ledger has its final report for sure. */
  settledIn: number | undefined;

  constructor(
    key: string,
    user: string,
    share: Share,
    { grantedAtNs, ttlNs }: { grantedAtNs: number; ttlNs: number },
  ) {
    this.key = key;
    this.user = user;
    this.share = share;
    this.#grantedAtNs = grantedAtNs;
    this.#ttlNs = ttlNs;
  }

  get over(): boolean {
    return this.#endedAtNs !== undefined;
  }

  /** Everything that can be known of it is known: its host is gone too. */
  get finished(): boolean {
    return this.#calls !== undefined;
  }

  /** Its node died, and with it what was not yet handed in. */
  get orphaned(): boolean {
    return this.#orphaned;
  }

  orphan(atNs: number): void {
    this.#orphaned = true;
    this.#endedAtNs ??= atNs;
    this.#goneAtNs ??= atNs;
  }

  get calls(): number | undefined {
    return this.#calls;
  }

  /** What the node told the lease, and was told to do. */
  told(event: LeaseEvent, effects: readonly LeaseEffect[]): void {
    if (this.over && effects.length > 0)
      violated(`lease ${this.key} is over and is still told to ${effects.join(", ")}`);
    if (this.over) return;
    if (effects.includes("return-capacity") || effects.includes("stop-host"))
      return this.#ended(event, effects);
    if (event.kind === "ended") violated(`lease ${this.key} was ended and goes on`);
    if (event.kind === "revoked" && this.#activeAtNs === undefined)
      violated(`lease ${this.key} was revoked before it could be used and goes on`);
    if (event.kind === "time" && event.atNs >= this.#dueNs())
      violated(`lease ${this.key} was due and goes on`);
    this.#announced(event, effects);
    if (this.#activeAtNs === undefined) return;
    if (event.kind === "redeemed") this.#redeemed = true;
    if (event.kind === "revoked") this.#deadlineNs = Math.min(this.#deadlineNs, event.deadlineNs);
    if (event.kind === "renewed") {
      this.#ttlNs = event.ttlNs ?? this.#ttlNs;
      this.#expiresAtNs = Math.max(this.#expiresAtNs, event.atNs + this.#ttlNs);
    }
  }

  #announced(event: LeaseEvent, effects: readonly LeaseEffect[]): void {
    if (effects.includes("announce-grant")) {
      if (event.kind !== "loaded" || this.#activeAtNs !== undefined)
        violated(`lease ${this.key} is announced at a wrong moment`);
      this.#activeAtNs = event.atNs;
      this.#expiresAtNs = event.atNs + this.#ttlNs;
    } else if (event.kind === "loaded" && this.#activeAtNs === undefined) {
      violated(`lease ${this.key} is loaded and not announced`);
    }
  }

  /** Its node wants it back by then; one that cannot be used yet, at once. */
  wantedBack(atNs: number, deadlineNs: number): void {
    const byNs = this.#activeAtNs === undefined ? atNs : deadlineNs;
    this.#deadlineNs = Math.min(this.#deadlineNs, byNs);
  }

  /** Its host is gone. */
  gone(calls: number, atNs: number): void {
    if (!this.over) violated(`lease ${this.key} has lost its host and goes on`);
    if (this.finished) violated(`lease ${this.key} gives its capacity back twice`);
    this.#calls = calls;
    this.#goneAtNs = atNs;
  }

  /** Whether it has outlived its time; `awakeSinceNs` is when its node last could not run. */
  inspect(nowNs: number, awakeSinceNs: number): void {
    if (this.over) return;
    const due = Math.max(this.#dueNs(), awakeSinceNs);
    if (nowNs > due + LATENESS_LIMIT_NS)
      violated(`lease ${this.key} is alive ${Math.round((nowNs - due) / MS)} ms after its time`);
  }

  /** What it costs, by its node's clock. */
  allocationCoreNs(nowNs: number): number {
    return this.share.cpus.length * ((this.#goneAtNs ?? nowNs) - this.#grantedAtNs);
  }

  #dueNs(): number {
    if (this.#activeAtNs === undefined)
      return Math.min(this.#grantedAtNs + LOAD_LIMIT_NS, this.#deadlineNs);
    const unredeemed = this.#redeemed ? Infinity : this.#activeAtNs + REDEEM_LIMIT_NS;
    return Math.min(this.#expiresAtNs, unredeemed, this.#deadlineNs);
  }

  #ended(event: LeaseEvent, effects: readonly LeaseEffect[]): void {
    const expected =
      (event.kind === "ended" && askedFor(event.reason) ? "" : "announce-loss,") +
      "stop-host,return-capacity";
    if (effects.join() !== expected)
      violated(`lease ${this.key} ends with ${effects.join()} instead of ${expected}`);
    const may =
      event.kind === "ended" ||
      (event.kind === "revoked" && this.#activeAtNs === undefined) ||
      (event.kind === "time" && event.atNs >= this.#dueNs());
    if (!may) violated(`lease ${this.key} ends too early, by ${event.kind}`);
    this.#endedAtNs = event.atNs;
  }
}

function askedFor({ kind }: EndReason): boolean {
  return kind === "released" || kind === "client-gone";
}

/** One machine's cores. */
export class CoresWitness {
  readonly name: string;
  /** The batch system wants the node. */
  drained = false;
  readonly #cpus: readonly number[];
  readonly #memoryBytes: number;
  /** By host processes that may still run. */
  readonly #running = new Map<number, LeaseWitness>();
  readonly #hosts = new Set<LeaseWitness>();
  #takenCores = 0;
  #takenBytes = 0;

  constructor(name: string, cpus: readonly number[], memoryBytes: number) {
    this.name = name;
    this.#cpus = cpus;
    this.#memoryBytes = memoryBytes;
  }

  /** Host processes that may still run. */
  get hostCount(): number {
    return this.#hosts.size;
  }

  /** A lease gets cores, and a host process that uses them. */
  take(lease: LeaseWitness): void {
    const { cpus, memoryBytes } = lease.share;
    if (this.drained) violated(`${this.name} drains and grants ${lease.key}`);
    this.#hosts.add(lease);
    this.#takenCores += cpus.length;
    this.#takenBytes += memoryBytes;
    for (const cpu of cpus) {
      if (!this.#cpus.includes(cpu)) violated(`${this.name} leases CPU ${cpu} and has none such`);
      if (cpu === UNPINNED) continue;
      const other = this.#running.get(cpu);
      if (other) violated(`CPU ${cpu} of ${this.name} is in ${other.key} and in ${lease.key}`);
      this.#running.set(cpu, lease);
    }
  }

  /** The host process of a lease is gone. */
  stopped(lease: LeaseWitness): void {
    this.#hosts.delete(lease);
    for (const cpu of lease.share.cpus) if (cpu !== UNPINNED) this.#running.delete(cpu);
  }

  /** The node has given the share of a lease back. */
  give({ share }: LeaseWitness): void {
    this.#takenCores -= share.cpus.length;
    this.#takenBytes -= share.memoryBytes;
  }

  /** The agent is dead, and its hosts with it. */
  reset(): void {
    this.drained = false;
    this.#running.clear();
    this.#hosts.clear();
    this.#takenCores = 0;
    this.#takenBytes = 0;
  }

  /** `line` has what is offered, and not taken. */
  check(book: LeaseBook, line: LineWitness, nowNs: number): void {
    const { freeCores, freeMemoryBytes } = book;
    const { heldCores, heldBytes } = line;
    if (freeCores + this.#takenCores + heldCores !== this.#cpus.length)
      violated(
        `${this.name} has ${this.#cpus.length} cores: ${freeCores} free, ${this.#takenCores} taken and ${heldCores} offered`,
      );
    if (freeMemoryBytes + this.#takenBytes + heldBytes !== this.#memoryBytes)
      violated(
        `${this.name} has ${this.#memoryBytes} bytes: ${freeMemoryBytes} free, ${this.#takenBytes} taken and ${heldBytes} offered`,
      );
    line.check(freeCores, freeMemoryBytes, nowNs);
  }
}

/** All leases there ever were, and what the ledger must say of them. */
export class Witness {
  readonly leases = new Map<string, LeaseWitness>();

  granted(lease: LeaseWitness): void {
    if (this.leases.has(lease.key)) violated(`there are two leases ${lease.key}`);
    this.leases.set(lease.key, lease);
  }

  /** Its user may not hold as much: there is no such lease, and no bill. */
  refused(lease: LeaseWitness): void {
    this.leases.delete(lease.key);
  }

  /** The rows that changed: none more than was used, the final ones equal to it. */
  checkRows(ledger: LedgerModel, keys: Iterable<string>): void {
    for (const key of keys) {
      const row = ledger.row(key);
      const lease = this.leases.get(key);
      if (!row || !lease) violated(`the ledger bills ${key}, and there was no such lease`);
      const final = row.endedAtMs !== null;
      if (row.settlements !== (final ? 1 : 0))
        violated(`the bill of ${key} was settled ${row.settlements} times`);
      if (!final) continue;
      const allocation = lease.allocationCoreNs(NaN);
      if (row.usage.allocationCoreNs !== allocation || row.usage.calls !== lease.calls)
        violated(
          `${key} used ${allocation} core-ns and ${lease.calls} calls and is billed ${row.usage.allocationCoreNs} and ${row.usage.calls}`,
        );
    }
  }

  /** What users owe is what their leases used. */
  checkTotals(ledger: LedgerModel, users: Iterable<string>): void {
    for (const user of users) {
      let sum = 0;
      for (const lease of ledger.leasesOf(user)) sum += ledger.row(lease)!.usage.allocationCoreNs;
      if (ledger.total(user) !== sum)
        violated(`${user} owes ${ledger.total(user)} core-ns, and the leases make ${sum}`);
    }
  }

  /** At the end: every lease of a node that lives is settled, and whatever was acknowledged is there. */
  checkSettled(ledger: LedgerModel): void {
    for (const lease of this.leases.values()) {
      if (!lease.orphaned && lease.settledIn === undefined)
        violated(`the bill of ${lease.key} was never settled`);
      const row = ledger.row(lease.key);
      if (row && row.usage.allocationCoreNs > lease.allocationCoreNs(NaN))
        violated(`${lease.key} is billed more than it used before its node died`);
      if (lease.settledIn === ledger.number && row?.endedAtMs == null)
        violated(`the final bill of ${lease.key} was acknowledged and is not in the ledger`);
    }
  }
}

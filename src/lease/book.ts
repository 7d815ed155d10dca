/**
 * A node's leases and its capacity, together: the only place that grants and takes back. Pure: it takes the time with every
 * question, and what must happen comes back as effects, so that the agent and the simulator run the same code.
 */
import type { Capacity, Share } from "./capacity.ts";
import {
  type EndReason,
  type LeaseEffect,
  type LeaseEvent,
  type LeaseState,
  type Revoker,
  advanceLease,
  dueAtNs,
  grantLease,
} from "./lease.ts";

/** Why a node that drains grants nothing. */
export const DRAINING = "the node is draining and grants no leases; use another node";

interface Entry {
  state: LeaseState;
  share: Share;
}

/** What must be done for one lease. */
export interface Due {
  lease: number;
  effects: LeaseEffect[];
}

export class LeaseBook {
  /** Grants no more. */
  draining = false;
  readonly #capacity: Capacity;
  readonly #entries = new Map<number, Entry>();
  #nextId = 1;

  constructor(capacity: Capacity) {
    this.#capacity = capacity;
  }

  /** Leases whose capacity is taken, ended ones included until their host is gone. */
  get size(): number {
    return this.#entries.size;
  }

  get freeCores(): number {
    return this.#capacity.freeCores;
  }

  get freeMemoryBytes(): number {
    return this.#capacity.freeMemoryBytes;
  }

  /** Whether the node has so much, free or not. */
  canEverHold(cores: number, memoryBytes: number): boolean {
    const { totalCores, totalMemoryBytes } = this.#capacity;
    return cores <= totalCores && memoryBytes <= totalMemoryBytes;
  }

  /** Takes cores and memory for a new lease, or says in words what is missing. */
  request(
    wanted: {
      workers: number;
      /** Default 1. */
      coresPerWorker?: number;
      memoryBytes: number;
      ttlNs: number;
      loadLimitNs: number;
      /** When its client's right to it ends. */
      untilNs?: number;
    },
    atNs: number,
  ): { lease: number; share: Share } | string {
    if (this.draining) return DRAINING;
    const { workers, memoryBytes, coresPerWorker } = wanted;
    const share = this.#capacity.take(workers, memoryBytes, coresPerWorker);
    if (typeof share === "string") return share;
    const lease = this.#nextId++;
    const { ttlNs, loadLimitNs, untilNs } = wanted;
    this.#entries.set(lease, { state: grantLease(atNs, ttlNs, loadLimitNs, untilNs), share });
    return { lease, share };
  }

  /** Sets room aside for as many of the workers as there is room for; undefined when that is for fewer than `atLeast`. */
  hold({
    workers,
    atLeast,
    coresPerWorker,
    memoryBytes,
  }: {
    workers: number;
    atLeast: number;
    coresPerWorker: number;
    memoryBytes: number;
  }): { workers: number; share: Share } | undefined {
    const most = Math.min(workers, Math.floor(this.freeCores / coresPerWorker));
    if (most < atLeast) return undefined;
    const share = this.#capacity.take(most, memoryBytes, coresPerWorker);
    return typeof share === "string" ? undefined : { workers: most, share };
  }

  /** Room that was set aside is free again. */
  letGo(share: Share): void {
    this.#capacity.give(share);
  }

  /** The state of a lease; undefined once its capacity has come back. */
  state(lease: number): LeaseState | undefined {
    return this.#entries.get(lease)?.state;
  }

  /** Tells a lease what happened; an unknown one needs nothing. */
  advance(lease: number, event: LeaseEvent): LeaseEffect[] {
    const entry = this.#entries.get(lease);
    if (!entry) return [];
    const [state, effects] = advanceLease(entry.state, event);
    entry.state = state;
    return effects;
  }

  /** Those that {@link passTime} would ask. */
  dueLeases(atNs: number): number[] {
    return [...this.#entries]
      .filter(([, { state }]) => (dueAtNs(state) ?? Infinity) <= atNs)
      .map(([lease]) => lease);
  }

  /**
   * Passes the time to the leases that are due. An agent that has seen calls says `renewed` for {@link dueLeases} first: using is
   * renewing.
   */
  passTime(atNs: number): Due[] {
    const all: Due[] = [];
    for (const [lease, { state }] of this.#entries) {
      if ((dueAtNs(state) ?? Infinity) > atNs) continue;
      all.push({ lease, effects: this.advance(lease, { kind: "time", atNs }) });
    }
    return all;
  }

  /** When {@link passTime} must be asked next; Infinity when no lease is waiting for the time. */
  nextDueNs(): number {
    let next = Infinity;
    for (const { state } of this.#entries.values())
      next = Math.min(next, dueAtNs(state) ?? Infinity);
    return next;
  }

  /** The batch system reclaims the node: the book grants no more leases, and present ones end at `deadlineNs`. */
  drain(atNs: number, deadlineNs: number, by?: Revoker): Due[] {
    this.draining = true;
    return [...this.#entries.keys()].map((lease) => ({
      lease,
      effects: this.advance(lease, { kind: "revoked", atNs, deadlineNs, by }),
    }));
  }

  resume(): void {
    this.draining = false;
  }

  /** The host of an ended lease is gone: its cores and memory are free. The second time it does nothing. */
  free(lease: number): void {
    const entry = this.#entries.get(lease);
    if (!entry) return;
    if (entry.state.phase !== "ended") throw new Error(`lease ${lease} is not over`);
    this.#entries.delete(lease);
    this.#capacity.give(entry.share);
  }
}

/**
 * Core-nanoseconds that a lease of `cores` is billed for until now: from when it took them, while it loads, and while its host ends.
 * Ask last when the cores are free.
 */
export function allocatedCoreNs({ grantedAtNs }: LeaseState, cores: number, nowNs: number): number {
  return cores * Math.max(0, nowNs - grantedAtNs);
}

/** Why a node takes leases back, in words. */
export function describeRevoker(by: Revoker): string {
  switch (by) {
    case "stopping":
      return "it was told to stop";
    case "drained":
      return "an operator has drained it";
    case "removed":
      return "an operator has removed it from its cluster";
    case "token-revoked":
      return "the token that it was taken with was revoked";
    case "over-quota":
      return "the core-hours of its user are used up (rfaas user show)";
    case "token-expires":
      return "the token that it was taken with expires";
  }
}

/** What a client hears when its lease is to end. */
export function describeRevoking(by: Revoker | undefined): string {
  if (by === "token-expires")
    return `the lease ends: ${describeRevoker(by)}; show a newer one of the same user and key (tokenFile, renewToken)`;
  if (by === "token-revoked" || by === "over-quota")
    return `the lease ends: ${describeRevoker(by)}`;
  return `the node wants its cores back${by === undefined ? "" : `: ${describeRevoker(by)}`}`;
}

/** A lease's end in words, for the client and for the bill. */
export function describeEnd(reason: EndReason): string {
  switch (reason.kind) {
    case "released":
      return "it was released";
    case "client-gone":
      return "its client is gone";
    case "expired":
      return "it expired: it was neither renewed nor used in time";
    case "token-expired":
      return "the token that it was taken with has expired";
    case "unredeemed":
      return "its client never said that it uses it";
    case "revoked":
      return `the node took it back${reason.by === undefined ? "" : `: ${describeRevoker(reason.by)}`}`;
    case "over-budget":
      return "its budget is spent";
    case "over-limit":
      return reason.what === "heap"
        ? "it was out of memory"
        : "it had more processes and threads than it may";
    case "connection-lost":
    case "reload-failed":
      return reason.message;
    case "load-failed":
      return "its module could not be loaded";
    case "load-timeout":
      return "its module did not finish loading in time";
    case "host-died":
      return "its host process died";
    case "host-unresponsive":
      return reason.stopped
        ? "its host process was stopped"
        : "its host process gave no sign of life";
    case "node-stopped":
      return "the node stopped";
  }
}

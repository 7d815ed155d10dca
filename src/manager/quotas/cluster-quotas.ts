/**
 * What users hold in the whole cluster, against their limits: the one place that says yes or no while the manager is there. Pure: it takes the
 * time with each question, and what nodes are to hear comes back.
 */
import { countOf, formatBytes } from "../../base/units.ts";
import {
  CORE_HOUR_NS,
  type Crossed,
  type Holding,
  type Limits,
  NOTHING,
  type OverLimit,
  type Place,
  SPENT_GRACE_MS,
  allowanceOf,
  crossed,
  isLimited,
  minus,
  plus,
  reached,
  strictest,
} from "../../lease/quota.ts";
import type { UserWord } from "../../protocol/tokens/limits.ts";
import { type CoreHours, type Spent, periodAt, spentOf } from "./core-hours.ts";

/** A lease of a node, as far as quotas go. */
export interface Held {
  lease: number;
  user: string;
  cores: number;
  memoryBytes: number;
}

export interface QuotaSources {
  /** The manager's table. */
  limits(): ReadonlyMap<string, Limits>;
  /** What leases of a user have cost since then, by the ledger. */
  usedCoreNs(user: string, sinceMs: number): number;
}

interface Node {
  name: string;
  /** It is asked and told; one of an earlier rfaas only reports. */
  counts: boolean;
  readonly leases: Map<number, Held>;
  /** Since when it is away; undefined while it is there. */
  awaySinceMs: number | undefined;
}

/** What is held of a user, and where. */
export interface UserHolding {
  total: Holding;
  nodes: { node: string; held: Holding }[];
}

/** A node that is in no list any more is told of so many places at most. */
const SHOWN_PLACES = 5;
const holdingOf = ({ cores, memoryBytes }: Held): Holding => ({ cores, memoryBytes, leases: 1 });

export class ClusterQuotas {
  readonly #sources: QuotaSources;
  readonly #graceMs: number;
  /** By the instance of the node. */
  readonly #nodes = new Map<string, Node>();
  /** Of those that are there; undefined when others may be. */
  #places: Map<string, Place> | undefined;
  /** What tokens say, by user, as last seen. */
  readonly #claims = new Map<string, Limits>();
  /** By user, over all nodes. */
  readonly #totals = new Map<string, Holding>();
  /** Users of whom nodes are to hear. */
  readonly #changed = new Set<string>();
  /** Users of whom nodes have heard that they have a limit. */
  readonly #told = new Set<string>();

  /** Leases of a node that is away count for `graceMs`. */
  constructor(sources: QuotaSources, graceMs: number) {
    this.#sources = sources;
    this.#graceMs = graceMs;
  }

  /** A run of a node has come; what it holds it says itself. */
  came(instance: string, name: string, counts = true): void {
    const leases = this.#nodes.get(instance)?.leases ?? new Map<number, Held>();
    this.#nodes.set(instance, { name, counts, leases, awaySinceMs: undefined });
    this.#places = undefined;
    this.#allChanged();
  }

  /** What a run of a node holds by the ledger, which this manager has not met: it counts as that of one that is away since now. */
  presume(instance: string, name: string, leases: readonly Held[], nowMs: number): void {
    if (this.#nodes.has(instance)) return;
    this.#nodes.set(instance, { name, counts: true, leases: new Map(), awaySinceMs: nowMs });
    this.holds(instance, leases);
  }

  went(instance: string, nowMs: number): void {
    const node = this.#nodes.get(instance);
    if (node) node.awaySinceMs = nowMs;
    this.#places = undefined;
    this.#allChanged();
  }

  /** These are all leases of the node, or with `more` some besides those that it has named. */
  holds(instance: string, leases: readonly Held[], more = false): void {
    const node = this.#nodes.get(instance);
    if (!node) return;
    if (!more) for (const lease of [...node.leases.keys()]) this.#drop(node, lease);
    for (const held of leases) this.#keep(node, held);
  }

  /** Books a lease for its user. Returns why that may not be, or null. */
  reserve(instance: string, held: Held, claims: Limits, wallMs: number): OverLimit | null {
    const node = this.#nodes.get(instance);
    if (!node) return { why: "the node is not in the cluster; take another one" };
    this.#drop(node, held.lease);
    const { user } = held;
    this.#learn(user, claims);
    const limits = this.#limitsOf(user, claims);
    // First what no wait helps with.
    const spent = this.#spentIn(user, wallMs, claims);
    if (spent && spent.inMs === 0)
      return { why: spent.why, limit: { passes: false, shared: true } };
    const wanted = holdingOf(held);
    const over = crossed(limits, this.#totalOf(user), wanted);
    if (over)
      return { why: this.#refusal(user, over, claims), limit: reached(limits, wanted, true) };
    this.#keep(node, held);
    return null;
  }

  unreserve(instance: string, lease: number): void {
    const node = this.#nodes.get(instance);
    if (node) this.#drop(node, lease);
  }

  /** Forgets what nodes held that are away for too long. */
  tick(nowMs: number): void {
    for (const [instance, node] of this.#nodes) {
      if (node.awaySinceMs === undefined || nowMs - node.awaySinceMs < this.#graceMs) continue;
      for (const lease of [...node.leases.keys()]) this.#drop(node, lease);
      this.#nodes.delete(instance);
    }
  }

  /** Other limits count: nodes are to hear of all users. */
  limitsChanged(): void {
    this.#allChanged();
  }

  /** Users of whom there is something new since this was asked last. Those with core-hours change by themselves. */
  takeChanged(): string[] {
    const changed = [...this.#changed].filter((user) => {
      if (!isLimited(this.#limitsOf(user))) return this.#told.delete(user);
      this.#told.add(user);
      return true;
    });
    this.#changed.clear();
    return changed;
  }

  /** Of whom a node is to hear that comes: those who have a limit, and hold something or are in the table. */
  users(): string[] {
    const known = new Set([...this.#sources.limits().keys(), ...this.#totals.keys()]);
    const limited = [...known].filter((user) => isLimited(this.#limitsOf(user)));
    for (const user of limited) this.#told.add(user);
    return limited;
  }

  /** Users with core-hours that hold something. */
  spending(): string[] {
    return [...this.#totals.keys()].filter((user) => this.#limitsOf(user).coreHours);
  }

  /** What a user holds, and where. */
  holdingOf(user: string): UserHolding {
    const nodes = [...this.#nodes.values()].map((node) => ({
      node: node.name,
      held: sumOf(node, user),
    }));
    return { total: this.#totalOf(user), nodes: nodes.filter(({ held }) => held.leases > 0) };
  }

  /** Which of the nodes that are there a run of one is; undefined for another. */
  placeOf(instance: string): Place | undefined {
    return (this.#places ??= this.#order()).get(instance);
  }

  #order(): Map<string, Place> {
    const there = [...this.#nodes]
      .filter(([, node]) => node.counts && node.awaySinceMs === undefined)
      .toSorted(([, one], [, other]) => (one.name < other.name ? -1 : 1));
    return new Map(there.map(([id], rank) => [id, { nodes: there.length, rank }]));
  }

  /** What a node is told of a user. */
  wordFor(instance: string, user: string, wallMs: number): UserWord | undefined {
    const place = this.placeOf(instance);
    const node = this.#nodes.get(instance);
    if (!place || !node) return undefined;
    const limits = this.#limitsOf(user);
    const held = { here: sumOf(node, user), everywhere: this.#totalOf(user) };
    const spent = this.#spentIn(user, wallMs);
    return {
      ...{ user, limits, allowance: allowanceOf(limits, held, place) },
      ...(spent ? { leftCoreNs: spent.leftCoreNs / place.nodes } : {}),
      ...(spent && spent.inMs <= SPENT_GRACE_MS ? { spentInMs: spent.inMs, why: spent.why } : {}),
    };
  }

  /** What a user has used of the core-hours of the present period; undefined without such a limit. */
  usedCoreHours(user: string, wallMs: number): number | undefined {
    const { coreHours } = this.#limitsOf(user);
    if (!coreHours) return undefined;
    const { fromMs } = periodAt(coreHours.period, wallMs);
    return this.#sources.usedCoreNs(user, fromMs) / CORE_HOUR_NS;
  }

  limitsOf(user: string): Limits {
    return this.#limitsOf(user);
  }

  /** Of the core-hours by the table and by the token, those that are used up first: a day's may be, long before a month's. */
  #spentIn(user: string, wallMs: number, claims = this.#claims.get(user) ?? {}): Spent | undefined {
    const table = this.#sources.limits().get(user) ?? {};
    const byTable = table.coreHours && this.#spent(user, table.coreHours, wallMs);
    const byToken = claims.coreHours && this.#spent(user, claims.coreHours, wallMs);
    if (!byTable || !byToken) return byTable ?? byToken;
    return byToken.leftCoreNs < byTable.leftCoreNs ? byToken : byTable;
  }

  #spent(user: string, coreHours: CoreHours, wallMs: number): Spent {
    const used = (sinceMs: number) => this.#sources.usedCoreNs(user, sinceMs);
    return spentOf(user, coreHours, { used, cores: this.#totalOf(user).cores }, wallMs);
  }

  #limitsOf(user: string, claims = this.#claims.get(user) ?? {}): Limits {
    return strictest(this.#sources.limits().get(user) ?? {}, claims);
  }

  #refusal(user: string, over: Crossed, claims: Limits): string {
    const { what, flag, limit, held, wanted } = over;
    const amount = (value: number): string =>
      what === "memoryBytes"
        ? formatBytes(value)
        : countOf(value, what === "cores" ? "core" : "lease");
    const byToken = crossed(claims, this.#totalOf(user), { ...NOTHING, [what]: wanted });
    const { nodes } = this.holdingOf(user);
    const where = nodes
      .slice(0, SHOWN_PLACES)
      .map((one) => `${one.node}: ${amount(one.held[what])}`);
    const more = nodes.length > SHOWN_PLACES ? `, and ${nodes.length - SHOWN_PLACES} more` : "";
    const places = where.length === 0 ? "" : ` (${where.join(", ")}${more})`;
    const ask = byToken
      ? "ask for a token with more"
      : `ask for more (rfaas user set ${user} --${flag})`;
    return `${user} may hold ${amount(limit)} at a time in this cluster, by ${byToken ? "the token" : "the manager's table"}: ${amount(held)} ${held === 1 ? "is" : "are"} held${places}, and ${amount(wanted)} ${wanted === 1 ? "is" : "are"} asked for; release some, or ${ask}`;
  }

  /** What a token says, nodes are to keep, too, while there is no manager. */
  #learn(user: string, claims: Limits): void {
    if (!isLimited(claims) || Bun.deepEquals(this.#claims.get(user), claims)) return;
    this.#claims.set(user, claims);
    this.#changed.add(user);
  }

  #keep(node: Node, held: Held): void {
    this.#drop(node, held.lease);
    node.leases.set(held.lease, held);
    this.#totals.set(held.user, plus(this.#totalOf(held.user), holdingOf(held)));
    this.#changed.add(held.user);
  }

  #drop(node: Node, lease: number): void {
    const held = node.leases.get(lease);
    if (!held) return;
    node.leases.delete(lease);
    const left = minus(this.#totalOf(held.user), holdingOf(held));
    if (left.leases > 0) this.#totals.set(held.user, left);
    else this.#totals.delete(held.user);
    this.#changed.add(held.user);
  }

  #totalOf(user: string): Holding {
    return this.#totals.get(user) ?? NOTHING;
  }

  #allChanged(): void {
    for (const user of [...this.users(), ...this.#told]) this.#changed.add(user);
  }
}

function sumOf({ leases }: Node, user: string): Holding {
  let sum = NOTHING;
  for (const held of leases.values()) if (held.user === user) sum = plus(sum, holdingOf(held));
  return sum;
}

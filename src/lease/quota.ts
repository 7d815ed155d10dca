/**
 * Quotas of users over a cluster: what a user may hold at a time, and use in a period. Pure: the manager, each node and the simulator count by
 * the same rules.
 *
 * While there is a manager it alone says whether more may be held, so no quota is overshot. It tells each node besides what that may let
 * the user hold should the manager be away: what it holds now, and its share of what is free. These add up to the quota at each moment, so
 * that nodes which know of nothing but their own leases keep it together.
 */

/** What a user may hold in the whole cluster; what is left out has no limit. */
export interface Limits {
  maxCores?: number;
  /** Registered memory and heaps. */
  maxMemoryBytes?: number;
  maxLeases?: number;
  /** What leases may cost in a day or a month of UTC, as cores held. */
  coreHours?: { hours: number; period: Period };
}
export type Period = "day" | "month";

export interface Holding {
  cores: number;
  /** Registered memory and heaps. */
  memoryBytes: number;
  leases: number;
}

export const NOTHING: Holding = { cores: 0, memoryBytes: 0, leases: 0 };

/** How each limit is called, of what it is, and the option that sets it. */
const DIMENSIONS = [
  ["maxCores", "cores", "max-cores"],
  ["maxMemoryBytes", "memoryBytes", "max-memory"],
  ["maxLeases", "leases", "max-leases"],
] as const;
export type Dimension = (typeof DIMENSIONS)[number][1];

export const plus = (one: Holding, other: Holding): Holding => ({
  cores: one.cores + other.cores,
  memoryBytes: one.memoryBytes + other.memoryBytes,
  leases: one.leases + other.leases,
});

export const minus = (one: Holding, other: Holding): Holding => ({
  cores: Math.max(0, one.cores - other.cores),
  memoryBytes: Math.max(0, one.memoryBytes - other.memoryBytes),
  leases: Math.max(0, one.leases - other.leases),
});

/** Both at a time: the lower one of each. */
export function strictest(one: Limits, other: Limits): Limits {
  const limits: Limits = {};
  for (const [name] of DIMENSIONS) {
    const least = Math.min(one[name] ?? Infinity, other[name] ?? Infinity);
    if (least < Infinity) limits[name] = least;
  }
  const [hours, others] = [one.coreHours, other.coreHours];
  const perDay = ({ hours: all, period }: NonNullable<Limits["coreHours"]>): number =>
    period === "day" ? all : all / 30;
  const coreHours = hours && others && perDay(others) < perDay(hours) ? others : (hours ?? others);
  return coreHours ? { ...limits, coreHours } : limits;
}

/** Those of `one` that `other` does not keep already. */
export function stricterThan(other: Limits, one: Limits): Limits {
  const limits: Limits = {};
  for (const [name] of DIMENSIONS) {
    const limit = one[name];
    if (limit !== undefined && limit < (other[name] ?? Infinity)) limits[name] = limit;
  }
  return limits;
}

export const isLimited = (limits: Limits): boolean =>
  limits.coreHours !== undefined || DIMENSIONS.some(([name]) => limits[name] !== undefined);

/** A limit that so much more would cross. */
export interface Crossed {
  what: Dimension;
  flag: string;
  limit: number;
  held: number;
  wanted: number;
}

/** The first limit that is crossed; undefined for none. */
export function crossed(limits: Limits, held: Holding, wanted: Holding): Crossed | undefined {
  for (const [name, what, flag] of DIMENSIONS) {
    const limit = limits[name];
    if (limit !== undefined && held[what] + wanted[what] > limit)
      return { what, flag, limit, held: held[what], wanted: wanted[what] };
  }
  return undefined;
}

/** A limit that so much more would cross. */
export interface Reached {
  /** What is held beside it leaves too little; else it is too much by itself, or there will be no more. */
  passes: boolean;
  /** It counts over all nodes of the cluster. */
  shared: boolean;
  /** How many cores the user may hold at a time, where those are limited. */
  cores?: number | undefined;
}

/** Why a user may not hold so much more, and what limit that is, where it is known. */
export interface OverLimit {
  why: string;
  limit?: Reached | undefined;
}

/** What to say of limits that `wanted` crosses beside what is held. */
export function reached(limits: Limits, wanted: Holding, shared: boolean): Reached {
  const { maxCores } = limits;
  const passes = crossed(limits, NOTHING, wanted) === undefined;
  return { passes, shared, ...(maxCores === undefined ? {} : { cores: maxCores }) };
}

/** The share of one of several nodes, by its place among them: the shares of all are the whole. */
export function shareOf(whole: number, { nodes, rank }: Place): number {
  const each = Math.floor(whole / nodes);
  return each + (rank < whole - each * nodes ? 1 : 0);
}

/** A node among those of its cluster. */
export interface Place {
  nodes: number;
  /** From 0 on. */
  rank: number;
}

/** What a node may let a user hold while the manager is away: what it holds, and its share of what is free. */
export function allowanceOf(
  limits: Limits,
  { here, everywhere }: { here: Holding; everywhere: Holding },
  place: Place,
): Limits {
  const allowance: Limits = {};
  for (const [name, what] of DIMENSIONS) {
    const limit = limits[name];
    if (limit === undefined) continue;
    allowance[name] = here[what] + shareOf(Math.max(0, limit - everywhere[what]), place);
  }
  return allowance;
}

export const CORE_HOUR_NS = 3600e9;
/** Leases hear so long before a user's core-hours are used up that they end then. */
export const SPENT_GRACE_MS = 30_000;

/** How long core-hours last while so many cores are held; Infinity while there are none. */
export const lastsMs = (leftCoreNs: number, cores: number): number =>
  cores === 0 ? Infinity : Math.max(0, leftCoreNs) / cores / 1e6;

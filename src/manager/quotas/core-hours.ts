/** What is left of a user's core-hours in their period. */
import { CORE_HOUR_NS, type Limits, type Period, lastsMs } from "../../lease/quota.ts";

/** When the period began that `wallMs` is in, and when the next one does. In UTC, as bills are. */
export function periodAt(period: Period, wallMs: number): { fromMs: number; untilMs: number } {
  const at = new Date(wallMs);
  const [year, month, day] = [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()];
  return period === "day"
    ? { fromMs: Date.UTC(year, month, day), untilMs: Date.UTC(year, month, day + 1) }
    : { fromMs: Date.UTC(year, month), untilMs: Date.UTC(year, month + 1) };
}

export type CoreHours = NonNullable<Limits["coreHours"]>;

export interface Spent {
  leftCoreNs: number;
  /** So long, with the cores that are held now. */
  inMs: number;
  why: string;
}

/** `used` has what leases of the user have cost since a time, in core-nanoseconds. */
export function spentOf(
  user: string,
  { hours, period }: CoreHours,
  { used, cores }: { used: (sinceMs: number) => number; cores: number },
  wallMs: number,
): Spent {
  const { fromMs, untilMs } = periodAt(period, wallMs);
  const usedCoreNs = used(fromMs);
  const leftCoreNs = Math.max(0, hours * CORE_HOUR_NS - usedCoreNs);
  const inMs = leftCoreNs === 0 ? 0 : lastsMs(leftCoreNs, cores);
  const until = new Date(untilMs).toISOString().slice(0, 10);
  const why = `${user} has used ${(usedCoreNs / CORE_HOUR_NS).toFixed(2)} of the ${hours} core-hours of this ${period}; wait until ${until} (UTC), or ask for more (rfaas user set ${user} --core-hours)`;
  return { leftCoreNs, inMs, why };
}

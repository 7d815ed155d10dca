/** Periods of core-hours. */
import type { Period } from "../../lease/quota.ts";

/** When the period began that `wallMs` is in, and when the next one does. In UTC, as bills are. */
export function periodAt(period: Period, wallMs: number): { fromMs: number; untilMs: number } {
  const at = new Date(wallMs);
  const [year, month, day] = [at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate()];
  return period === "day"
    ? { fromMs: Date.UTC(year, month, day), untilMs: Date.UTC(year, month, day + 1) }
    : { fromMs: Date.UTC(year, month), untilMs: Date.UTC(year, month + 1) };
}

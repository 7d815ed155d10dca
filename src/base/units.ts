/** Sizes, durations and moments as people write them. */
import { UsageError } from "./errors.ts";

const FACTORS: Record<string, number> = {
  "": 1,
  b: 1,
  k: 1024,
  kib: 1024,
  kb: 1000,
  m: 1024 ** 2,
  mib: 1024 ** 2,
  mb: 1000 ** 2,
  g: 1024 ** 3,
  gib: 1024 ** 3,
  gb: 1000 ** 3,
  t: 1024 ** 4,
  tib: 1024 ** 4,
  tb: 1000 ** 4,
};

/**
 * Bytes of `"512MiB"`, `"2GiB"`, `"64k"`, `"1.5 MB"` or a plain number. `what` names the value in the error.
 *
 * @throws {UsageError} when it is no size, or not at least one byte.
 */
export function parseBytes(size: string | number, what: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*$/.exec(String(size));
  const factor = match ? FACTORS[match[2]!.toLowerCase()] : undefined;
  const bytes = match && factor !== undefined ? wholePart(Number(match[1]) * factor) : Number.NaN;
  if (!Number.isSafeInteger(bytes) || bytes < 1)
    throw new UsageError(
      `${what} must be a size such as 512MiB, 2GiB or 4096; it is ${JSON.stringify(size)}`,
    );
  return bytes;
}

/** `1.5 GiB`, for people. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}

const DURATION_MS = {
  ms: 1,
  s: 1000,
  m: 60_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 7 * 86_400_000,
} as const;

/** Of numbers that may stand alone. */
const UNIT_NAMES = { ms: "milliseconds", s: "seconds" } as const;

/**
 * Milliseconds of `"30s"`, `"5m"`, `"1.5h"`, `"30d"` or `"250ms"`. `what` names the value in the error. A number without a unit is
 * refused, or is of the unit `bare`, where there is one.
 *
 * @throws {UsageError} when it is no duration
 */
export function parseDuration(
  duration: string | number,
  what: string,
  bare?: keyof typeof UNIT_NAMES,
): number {
  const text = String(duration);
  const ms = durationMs(bare !== undefined && /\d\s*$/.test(text) ? `${text}${bare}` : text);
  if (ms === undefined)
    throw new UsageError(
      `${what} must be a duration such as 500ms, 30s, 5m, 2h or 30d${bare === undefined ? "" : `, or a number of ${UNIT_NAMES[bare]}`}; it is ${JSON.stringify(duration)}`,
    );
  return ms;
}

/** A duration in the largest unit that leaves a whole number, as {@link parseDuration} reads it: 7,200,000 ms are `2h`. */
export function formatDuration(ms: number): string {
  const units = ["d", "h", "m", "s", "ms"] as const;
  const unit = units.find((name) => ms > 0 && ms % DURATION_MS[name] === 0) ?? "ms";
  return `${ms / DURATION_MS[unit]}${unit}`;
}

/** `1 worker`, `2 workers`. `plural` is for what takes more than an s. */
export function countOf(count: number, what: string, plural = `${what}s`): string {
  return `${count} ${count === 1 ? what : plural}`;
}

/** What {@link parseMoment} reads. */
export const MOMENT_FORMS =
  "a date, a time such as 2026-03-01T12:00:00Z, or how long ago, such as 7d";

/**
 * Milliseconds since 1970 of a date (`2026-03-01`), a date and time (`2026-03-01T12:00:00Z`; UTC where it names no zone), or a
 * duration before `nowMs` (`7d`).
 *
 * @throws {UsageError} when it is none of these.
 */
export function parseMoment(moment: string | number, what: string, nowMs: number): number {
  const text = String(moment).trim();
  const ago = durationMs(text);
  const ms = ago === undefined ? isoMs(text) : nowMs - ago;
  if (ms === undefined)
    throw new UsageError(`${what} must be ${MOMENT_FORMS}; it is ${JSON.stringify(moment)}`);
  return ms;
}

function durationMs(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*$/.exec(text);
  const unit = match?.[2];
  if (!match || !isUnit(unit)) return undefined;
  const factor = DURATION_MS[unit];
  const ms = wholePart(Number(match[1]) * factor);
  return Number.isSafeInteger(ms) ? ms : undefined;
}

function isUnit(name: string | undefined): name is keyof typeof DURATION_MS {
  return name !== undefined && Object.hasOwn(DURATION_MS, name);
}

const ISO =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)(Z|[+-]\d\d:\d\d)?)?$/i;

function isoMs(text: string): number | undefined {
  const match = ISO.exec(text);
  if (!match) return undefined;
  const [, year, month, day, time = "00:00", zone = "Z"] = match;
  // The parser takes the 30th of February for the 2nd of March.
  const midnight = new Date(Date.UTC(Number(year), Number(month) - 1, Number(day)));
  if (midnight.getUTCMonth() !== Number(month) - 1) return undefined;
  const ms = Date.parse(`${year}-${month}-${day}T${time}${zone.toUpperCase()}`);
  return Number.isNaN(ms) ? undefined : ms;
}

/** The product of a decimal fraction and a factor, without the last bit's error: 1.001 kB is 1001 bytes. */
function wholePart(product: number): number {
  return Number.isInteger(product) ? product : Math.floor(Number(product.toPrecision(15)));
}

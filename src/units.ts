/** Sizes as people write them. */
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
};

/**
 * Bytes of `"512MiB"`, `"2GiB"`, `"64k"`, `"1.5 MB"` or a plain number. `what` names the value in the error.
 *
 * @throws {UsageError} when it is no size, or not at least one byte.
 */
export function parseBytes(size: string | number, what: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*$/.exec(String(size));
  const factor = match ? FACTORS[match[2]!.toLowerCase()] : undefined;
  const bytes = match && factor !== undefined ? wholeBytes(Number(match[1]) * factor) : Number.NaN;
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

/** The product of a decimal fraction and a factor, without the last bit's error: 1.001 kB is 1001 bytes. */
function wholeBytes(product: number): number {
  return Number.isInteger(product) ? product : Math.floor(Number(product.toPrecision(15)));
}

/**
 * How large a value would be with each part written wherever it is: parts in several places travel as copies, so forty levels of
 * pairs of the same pair are 2^40 pairs. The encoder asks when it meets a part again.
 */
import { MAX_DEPTH } from "./wire.ts";

/** A lower bound in bytes. Visits each part once. */
export function bytesWithCopies(value: unknown): number {
  return bytesOf(value, new Map(), 0);
}

function bytesOf(value: unknown, known: Map<object, number>, depth: number): number {
  if (typeof value === "string") return value.length + 1;
  if (typeof value !== "object" || value === null || depth > MAX_DEPTH) return 1;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return value.byteLength;
  const before = known.get(value);
  if (before !== undefined) return before;
  // A circle ends here; the encoder refuses it.
  known.set(value, 0);
  let bytes = 1;
  const add = (part: unknown): void => {
    bytes += bytesOf(part, known, depth + 1);
  };
  if (Array.isArray(value)) for (const part of value) add(part);
  else if (value instanceof Set) value.forEach(add);
  else if (value instanceof Map)
    value.forEach((item, key) => {
      add(key);
      add(item);
    });
  else
    for (const key of Object.keys(value))
      bytes += 1 + key.length + bytesOf((value as Record<string, unknown>)[key], known, depth + 1);
  known.set(value, bytes);
  return bytes;
}

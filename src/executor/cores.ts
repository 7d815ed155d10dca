/** Which CPUs a node leases. */
import { availableParallelism } from "node:os";
import { usableCpus } from "../../ffi/system.ts";

/** A core that a worker is not pinned to. */
export const UNPINNED = -1;

/**
 * CPUs for `count` leased cores, best first. The first usable CPU is left to the client, the agent and the engine's helper
 * threads as long as it can be; cores beyond that are not pinned, so that two spinners never hold one CPU between them.
 */
export function planCpus(count: number, usable: readonly number[] = usableCpus()): number[] {
  const pinned = usable.slice(1).reverse().slice(0, count);
  return [...pinned, ...new Array<number>(count - pinned.length).fill(UNPINNED)];
}

/** How many cores a node leases when not told: those it may use, and two at least. */
export function defaultCores(): number {
  return Math.max(2, availableParallelism());
}

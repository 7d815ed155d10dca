/** Which CPUs a node leases. */
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { claimCpu, usableCpus } from "../../ffi/system.ts";

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

/** CPUs that a lease's workers are pinned to, held against all other nodes of this machine. */
export interface ClaimedCpus {
  /** {@link UNPINNED} where another node's worker has the CPU: two spinners must not share one. */
  cpus: number[];
  release(): void;
}

export function claimCpus(wanted: readonly number[]): ClaimedCpus {
  const claims = wanted.map((cpu) => (cpu === UNPINNED ? null : claimCpu(cpu)));
  return {
    cpus: wanted.map((cpu, i) => (claims[i] === null ? UNPINNED : cpu)),
    release() {
      for (const fd of claims) if (fd !== null && fd !== undefined) closeDescriptor(fd);
    },
  };
}

/** Which CPUs a node leases. */
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import { claimCpu, usableCpus } from "../../../ffi/system.ts";

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

/** A node's claims to CPUs. */
export class CpuClaims {
  readonly #log: (message: string) => void;
  readonly #told = new Set<number>();

  /** `log` hears of another user who holds names of CPUs for nothing, once of each. */
  constructor(log: (message: string) => void) {
    this.#log = log;
  }

  claim(wanted: readonly number[]): ClaimedCpus {
    const held: number[] = [];
    const cpus = wanted.map((cpu) => {
      if (cpu === UNPINNED) return UNPINNED;
      const { taken, fd, stranger } = claimCpu(cpu);
      if (fd >= 0) held.push(fd);
      if (stranger) this.#tell(cpu, stranger);
      return taken ? UNPINNED : cpu;
    });
    return {
      cpus,
      release() {
        for (const fd of held.splice(0)) closeDescriptor(fd);
      },
    };
  }

  #tell(cpu: number, { uid, pid }: { uid: number; pid: number }): void {
    if (this.#told.has(uid)) return;
    this.#told.add(uid);
    const who = uid < 0 ? "another user" : `user ${uid}`;
    const by = pid > 0 ? ` (process ${pid})` : "";
    this.#log(
      `${who}${by} claims CPU ${cpu} and does not run there, so workers are pinned to it all the same; see what that process is for`,
    );
  }
}

/**
 * The CPUs that each worker's thread, and each thread that it starts, is restricted to: its own. A worker of one core without a CPU of
 * its own may run anywhere; a worker of several cores gets other usable CPUs, near its own ones, in place of those that it lacks, so
 * that it sees as many CPUs as it has cores.
 */
export function workerCpus(
  cpus: readonly number[],
  coresPerWorker: number,
  usable: () => readonly number[] = usableCpus,
): number[][] {
  const each: number[][] = [];
  for (let from = 0; from < cpus.length; from += coresPerWorker)
    each.push(cpus.slice(from, from + coresPerWorker).filter((cpu) => cpu !== UNPINNED));
  if (coresPerWorker === 1) return each;
  return each.map((own) => {
    const near = (cpu: number) => Math.min(...own.map((one) => Math.abs(one - cpu)), Infinity);
    const others = usable()
      .filter((cpu) => !own.includes(cpu))
      .map((cpu) => ({ cpu, leased: cpus.includes(cpu), far: near(cpu) }))
      .sort((a, b) => Number(a.leased) - Number(b.leased) || compare(a.far, b.far));
    return [...own, ...others.slice(0, coresPerWorker - own.length).map(({ cpu }) => cpu)];
  });
}

/**
 * Where a lease may run at all: on its workers' CPUs, and on the one that no lease has, for what the engine does beside them. On all, where
 * one of its cores has no CPU of its own.
 */
export function leaseCpus(
  masks: readonly (readonly number[])[],
  usable: readonly number[] = usableCpus(),
): number[] {
  if (masks.some((mask) => mask.length === 0)) return [...usable];
  return [...new Set([...masks.flat(), ...usable.slice(0, 1)])];
}

const compare = (a: number, b: number): number => (a === b ? 0 : a - b);

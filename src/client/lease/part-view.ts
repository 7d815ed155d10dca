/** The public view of a part of a lease. */
import type { LeasePart } from "./lease.ts";

/** Where a part is: among the parts of its lease, and on which node. */
export interface PartPlace {
  readonly part: number;
  /** The number of its first worker among those of all parts. */
  readonly firstWorker: number;
  readonly node: string;
  readonly address: string;
}

/** Copies the constant fields; its getters look up the others. */
export function viewOf(part: Omit<LeasePart, "node" | "address">, place: PartPlace): LeasePart {
  const { node, address, firstWorker } = place;
  const { workers, fabric, encrypted, cpus, phases, hostPid } = part;
  return Object.freeze({
    node,
    address,
    firstWorker,
    workers,
    fabric,
    encrypted,
    cpus,
    phases,
    hostPid,
    get state() {
      return part.state;
    },
    get expiresAt() {
      return part.expiresAt;
    },
  });
}

/** The CPUs of a lease's workers: each of its parts has those of the workers whose numbers it holds. */
export function cpusOf<Part extends Pick<LeasePart, "cpus" | "firstWorker" | "workers">>(
  parts: readonly Part[],
  holderOf: (worker: number) => Part,
): readonly number[] {
  const of = (part: Part): number[] => {
    const cores = part.cpus.length / part.workers;
    return part.cpus.filter((_, i) => holderOf(part.firstWorker + Math.floor(i / cores)) === part);
  };
  return Object.freeze(parts.flatMap(of));
}

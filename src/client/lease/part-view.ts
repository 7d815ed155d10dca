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

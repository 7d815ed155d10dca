/** Which core does what in a benchmark: the worker where its lease put it, the client on another. */
import type { Lease } from "../src/client/lease/lease.ts";
import type { NodeInvoker } from "../src/client/node-invoker.ts";
import { fabricNamed } from "../src/fabric/registry.ts";
import { pinThread, usableCpus } from "../ffi/system.ts";

export interface Placement {
  clientCpu: number;
  /** -1 when the worker could not be pinned. */
  workerCpu: number;
  /** Warnings about what makes the figures less reliable. */
  warning?: string;
}

/** Pins the calling thread to a CPU that no worker of the lease has. */
export function placeClient(workerCpus: readonly number[], usable: readonly number[]): Placement {
  const clientCpu = usable.find((cpu) => !workerCpus.includes(cpu)) ?? -1;
  const workerCpu = workerCpus[0] ?? -1;
  if (clientCpu < 0 || workerCpu < 0) {
    return {
      clientCpu,
      workerCpu,
      warning: "there are not enough CPUs to pin client and worker apart: figures will be poor",
    };
  }
  if (!pinThread(clientCpu))
    return {
      clientCpu,
      workerCpu,
      warning: `the client could not be pinned to CPU ${clientCpu}: figures will vary`,
    };
  return { clientCpu, workerCpu };
}

/** CPUs that the benchmark may use; ask before pinning. */
export const benchCpus = (): number[] => usableCpus();

/** Whether the worker's process is of this machine, so that its id means the same here. */
export function isHere(rf: NodeInvoker, lease: Pick<Lease, "fabric">): boolean {
  return fabricNamed(lease.fabric)!.sharesMemory || rf.address === "private";
}

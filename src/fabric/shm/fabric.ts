/** Shared memory: client and workers on one machine map the memory of the lease, and wake each other with futexes. */
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import { createRegion } from "../../../ffi/region.ts";
import type { Finding } from "../../base/finding.ts";
import type { Fabric, FabricOffer } from "../fabric.ts";
import { attachSharedMemory } from "./attachment.ts";

const NAME = "shm";

export const shm: Fabric<typeof NAME> = {
  name: NAME,
  title: "shared memory",
  sharesMemory: true,
  needs: undefined,
  options: undefined,
  askedBy: () => undefined,
  offer: () => offered,
  doctor: async () => [examine()],
};

const offered: FabricOffer = {
  fabric: shm,
  description: NAME,
  listenFor: () => null,
  memoryFor: (bytes) => bytes,
  attach: async ({ descriptors, shape }) => attachSharedMemory(descriptors, shape.slots),
};

function examine(): Finding {
  const name = `fabric ${NAME}`;
  try {
    closeDescriptor(
      createRegion({ workers: 1, slots: 1, arenaBytes: 4096, polling: "hot", spinNs: 0 }),
    );
    return { name, state: "ok", found: "sealed anonymous memory, futex, pidfd" };
  } catch (error) {
    return {
      name,
      state: "missing",
      found: (error as Error).message,
      fix: "use Linux 5.14 or later, outside a sandbox that forbids memfd_create",
    };
  }
}

/** Shared memory: client and workers on one machine map the memory of the lease, and wake each other with futexes. */
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import { measureFloor } from "../../../ffi/floor.ts";
import { createRegion } from "../../../ffi/region.ts";
import type { Finding } from "../../base/finding.ts";
import type { Fabric, FabricOffer } from "../fabric.ts";
import type { Floor } from "../floor.ts";
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
  floor: async () => floor,
  doctor: async () => [examine()],
};

const offered: FabricOffer = {
  fabric: shm,
  description: NAME,
  listenFor: () => null,
  memoryFor: (bytes) => bytes,
  attach: async ({ descriptors, shape }) => attachSharedMemory(descriptors, shape.slots),
};

const floor: Floor = {
  name: (block) => (block ? "raw C futex echo" : "raw C shared-memory ping-pong"),
  warmUpMs: () => 250,
  // A side polls every few dozen nanoseconds, so the round trip has steps, which the sweep goes through.
  delaysNs: Array.from({ length: 31 }, (_, i) => 10 * i),
  windowCalls: (bytes, block) =>
    block ? 500 : Math.max(50, Math.min(40_000, Math.floor(2e9 / (bytes + 50_000)))),
  measure: async (options, out) => measureFloor(options, out),
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

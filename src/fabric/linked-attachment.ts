/** A client's end of a lease over a network: memory of its own with the same layout, and a connection for each worker. */
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { Region, type RegionShape, createRegion } from "../../ffi/region.ts";
import type { Attachment } from "./attachment.ts";
import type { FabricLink } from "./link.ts";
import { memoryPin } from "./registering.ts";

/**
 * Connects to every worker of a lease. `headroomBytes` are what the fabric needs in front of every buffer.
 *
 * @throws {ConnectionFailed}
 */
export async function attachLinked(
  shape: RegionShape,
  connect: (region: Region) => Promise<FabricLink>,
  headroomBytes: number,
): Promise<Attachment> {
  const fd = createRegion(shape);
  let region: Region;
  try {
    region = Region.map(fd, shape.workers, shape.slots);
  } finally {
    closeDescriptor(fd);
  }
  let link: FabricLink | undefined;
  const endpoints: ClientEndpoint[] = [];
  try {
    link = await connect(region);
    await link.ready;
    for (let worker = 0; worker < shape.workers; worker++)
      endpoints.push(new ClientEndpoint(region, worker, shape.slots, link.link));
  } catch (error) {
    for (const endpoint of endpoints) endpoint.close();
    link?.close();
    region.close();
    throw error;
  }
  const opened = link;
  opened.unref();
  return {
    region,
    sharesMemory: false,
    endpoints,
    headroomBytes,
    watch: async (onWake) => void (opened.onWake = onWake),
    // Pages of this side's own are mapped as they are touched, or when a device pins them.
    handOut: undefined,
    pin: memoryPin(region, opened.link),
    lost: (worker) => opened.lost(worker),
    close() {
      for (const endpoint of endpoints) endpoint.close();
      opened.close();
      region.close();
    },
  };
}

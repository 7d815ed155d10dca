/** The client's end of a lease over RDMA: memory of its own with the same layout, and a queue pair for each worker. */
import { ClientEndpoint } from "../../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import { LAYOUT } from "../../../ffi/layout.ts";
import { Region, type RegionShape, createRegion } from "../../../ffi/region.ts";
import type { Attachment } from "../attachment.ts";
import { memoryPin } from "./register.ts";
import { FabricLink, type LinkOptions } from "./link.ts";

/** Added to a lease's memory, so that a thousand buffers have their headroom without a word to the user. */
export const HEADROOM_SLACK_BYTES = 1024 * LAYOUT.requestBytes;

/** Where the lease's host listens. */
export interface Listening {
  address: string;
  port: number;
  nonce: Uint8Array;
}

/**
 * Connects to every worker of a lease. `source` is the address of the device to use, `""` for any.
 *
 * @throws {ConnectionFailed}
 */
export async function attachVerbs(
  shape: RegionShape,
  at: Listening,
  source: string,
  options: LinkOptions,
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
    link = await FabricLink.connect(region, { ...at, source }, options);
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
    headroomBytes: LAYOUT.requestBytes,
    watch: async (onWake) => void (opened.onWake = onWake),
    // Memory that the device uses is pinned.
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

/** The client's end of a lease on the same machine: the lease's own memory, mapped. */
import type { Socket } from "bun";
import { ClientEndpoint } from "../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../ffi/descriptors.ts";
import { Region } from "../../ffi/region.ts";
import { watchDescriptor } from "../watch-descriptor.ts";
import type { Attachment } from "./attachment.ts";

/**
 * `descriptors` are the lease's memory, the host's pidfd, the notify socket to watch, and a notify socket for each worker. They
 * belong to the attachment, and are closed too when it cannot be made.
 */
export function attachSharedMemory(descriptors: readonly number[], slots: number): Attachment {
  const [memoryFd, hostPidfd, watchFd, ...workerFds] = descriptors as [
    number,
    number,
    number,
    ...number[],
  ];
  let region: Region;
  let endpoints: ClientEndpoint[];
  try {
    region = Region.map(memoryFd, workerFds.length, slots);
    endpoints = workerFds.map(
      (notifyFd, worker) => new ClientEndpoint(region, worker, slots, { hostPidfd, notifyFd }),
    );
  } catch (error) {
    for (const fd of descriptors) closeDescriptor(fd);
    throw error;
  }
  let socket: Socket<undefined> | undefined;
  return {
    region,
    endpoints,
    headroomBytes: 0,
    async watch(onWake) {
      socket = await watchDescriptor(watchFd, { data: onWake });
      socket.unref();
    },
    pin: undefined,
    lost: () => undefined,
    close() {
      socket?.end();
      for (const endpoint of endpoints) endpoint.close();
      region.close();
      for (const fd of [memoryFd, hostPidfd, ...workerFds]) closeDescriptor(fd);
    },
  };
}

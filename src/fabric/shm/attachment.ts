/** The client's end of a lease on the same machine: the lease's own memory, mapped. */
import type { Socket } from "bun";
import { ClientEndpoint } from "../../../ffi/client-endpoint.ts";
import { closeDescriptor } from "../../../ffi/descriptors.ts";
import { NativeError } from "../../../ffi/errors.ts";
import { Region } from "../../../ffi/region.ts";
import { ProtocolError } from "../../base/errors.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import type { Attachment } from "../attachment.ts";
import { FirstTouch } from "./first-touch.ts";

/**
 * `descriptors` are the lease's memory, the host's pidfd, the notify socket to watch, and a notify socket for each worker. They
 * belong to the attachment, and are closed too when it cannot be made.
 *
 * @throws {ProtocolError} the memory is none that can be trusted, or not what the node said
 * @throws {NativeError}
 */
export function attachSharedMemory(descriptors: readonly number[], slots: number): Attachment {
  const [memoryFd, hostPidfd, watchFd, ...workerFds] = descriptors as [
    number,
    number,
    number,
    ...number[],
  ];
  let region: Region | undefined;
  const endpoints: ClientEndpoint[] = [];
  try {
    region = Region.map(memoryFd, workerFds.length, slots);
    for (const [worker, notifyFd] of workerFds.entries())
      endpoints.push(new ClientEndpoint(region, worker, slots, { hostPidfd, notifyFd }));
  } catch (error) {
    for (const endpoint of endpoints) endpoint.close();
    region?.close();
    for (const fd of descriptors) closeDescriptor(fd);
    throw error instanceof NativeError ? explain(error) : error;
  }
  const mapped = region;
  const firstTouch = new FirstTouch(mapped, endpoints);
  let socket: Socket<undefined> | undefined;
  return {
    region: mapped,
    sharesMemory: true,
    endpoints,
    headroomBytes: 0,
    async watch(onWake) {
      socket = await watchDescriptor(watchFd, { data: onWake });
      socket.unref();
    },
    handOut: (endBytes) => firstTouch.handOut(endBytes),
    pin: undefined,
    lost: () => undefined,
    close() {
      firstTouch.stop();
      if (socket) socket.end();
      else closeDescriptor(watchFd);
      for (const endpoint of endpoints) endpoint.close();
      mapped.close();
      for (const fd of [memoryFd, hostPidfd, ...workerFds]) closeDescriptor(fd);
    },
  };
}

function explain(cause: NativeError): Error {
  if (cause.code === "ENOTSUP" || cause.code === "EOPNOTSUPP")
    return new ProtocolError(
      "the memory that the node sent for the lease could shrink, and reading it could then end this process; use another node",
      { cause },
    );
  if (cause.code === "EPROTO")
    return new ProtocolError(
      "the memory that the node sent is not laid out as it said; use a node of the same version",
      { cause },
    );
  return cause;
}

/** Sockets that came as descriptors: from a parent process, or over another socket. */
import type { Socket, SocketHandler, UnixSocketOptions } from "bun";

/**
 * Watches a connected descriptor with the event loop. Bun accepts `fd` here and says so in `FdSocketOptions`, but the types of
 * `connect` do not list it.
 */
export async function watchDescriptor(
  fd: number,
  socket: SocketHandler<undefined>,
): Promise<Socket<undefined>> {
  const options = { fd, socket } as unknown as UnixSocketOptions<undefined>;
  return await Bun.connect(options);
}

/** The manager's TCP port for nodes and clients, opened, or refused with what is in the way. */
import type { SocketHandler, TCPSocketListener } from "bun";
import { AddressInUse, EnvironmentError, UsageError } from "../base/errors.ts";
import { parseAddress } from "../control/address.ts";
import { portInUse, whyNotListening } from "../control/port-holder.ts";

/** Listens at `address`, HOST:PORT. Throws {@link AddressInUse}, {@link EnvironmentError} or {@link UsageError}. */
export function listenAt(
  address: string,
  socket: SocketHandler<undefined>,
): TCPSocketListener<undefined> {
  const parsed = parseAddress(address);
  if (parsed.kind === "unix")
    throw new UsageError(
      `a manager listens at HOST:PORT and not at ${address}; choose another --listen`,
    );
  try {
    return Bun.listen({ hostname: parsed.host, port: parsed.port, socket });
  } catch (cause) {
    if ((cause as { code?: string }).code === "EADDRINUSE")
      throw new AddressInUse(portInUse(address, parsed.port, "--listen"), { cause });
    throw new EnvironmentError(
      `cannot listen on ${address}: ${whyNotListening(cause, parsed.host)}; choose another --listen`,
      { cause },
    );
  }
}

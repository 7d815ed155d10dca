/** Where a node listens: at one port or socket and, where it is asked to, for the data of leases at another port. */
import { UsageError } from "../../base/errors.ts";
import { type Address, defaultAddress, parseAddress } from "../../control/address.ts";
import type { OwnAddress } from "../../control/reach/reach.ts";
import { type DataPort, listenForData } from "../../executor/admission/data-port.ts";
import { type Listener, type Security, listen } from "../../executor/admission/listen.ts";
import type { Agent } from "../../executor/agent/agent.ts";
import type { FabricOffer } from "../../fabric/fabric.ts";

/** The address of `--listen`. Throws {@link UsageError} where it is none. */
export function listeningAddress({ listen }: { listen?: string | undefined }): Address {
  const asked = listen === undefined ? defaultAddress() : parseAddress(listen);
  if (asked.kind === "unix" || !asked.secure) return asked;
  throw new UsageError(
    `--listen is HOST:PORT or a path; it is "${listen}", and other machines are spoken to by TLS anyway`,
  );
}

/** The port of `--data-port`. Throws {@link UsageError} where no data can come to one. */
export function dataPortOf(
  { dataPort: port }: { dataPort?: number | undefined },
  listening: Address,
  fabrics: readonly FabricOffer[],
): Pick<DataPort, "host" | "port"> | undefined {
  if (port === undefined) return undefined;
  if (listening.kind === "unix")
    throw new UsageError(
      "--data-port is for a node that listens at HOST:PORT; clients of a socket's path bring their data to no port: leave it out, or give --listen HOST:PORT",
    );
  if (listening.port === port)
    throw new UsageError(
      `--data-port ${port} is the port of --listen, to which data comes anyway; choose another one, or leave it out`,
    );
  if (!fabrics.some(({ fabric }) => fabric.greeting))
    throw new UsageError(
      `--data-port ${port}: over ${fabrics.map(({ fabric }) => fabric.name).join(" and ")} no data comes to a port of the node's; leave it out`,
    );
  return { host: listening.host, port };
}

/** Listens for the agent's clients. Drains the agent when that cannot be done. Throws as {@link listen} does. */
export async function listenFor(
  agent: Agent,
  address: Address,
  {
    security,
    own,
    data,
  }: {
    security: Security;
    own: OwnAddress;
    data: Pick<DataPort, "host" | "port"> | undefined;
  },
): Promise<Listener> {
  const bring: DataPort["bring"] = (...connection) => agent.bring(...connection);
  const answerTo: DataPort["answerTo"] = (question) => own.answerTo(question);
  let listener: Listener | undefined;
  try {
    const accept: Parameters<typeof listen>[1] = (way) => agent.newClient(undefined, way);
    listener = await listen(address, accept, bring, security, answerTo);
    const control = parseAddress(listener.address);
    // It stays open while the node drains: clients of leases that it has just granted are on their way.
    if (data && control.kind !== "unix")
      listenForData({ ...data, controlPort: control.port, bring, security, answerTo });
    return listener;
  } catch (error) {
    listener?.stop();
    await agent.drain(0);
    throw error;
  }
}

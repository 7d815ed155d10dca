/** Turns failures between a client and its node into the errors that a program gets. */
import {
  EnvironmentError,
  LeaseLost,
  LeaseRefused,
  ModuleLoadError,
  NodeUnreachable,
  PackageUnknown,
  RfaasError,
  UsageError,
  VersionMismatch,
} from "../../base/errors.ts";
import { shortage, shortageOfDescriptors } from "../../base/shortage.ts";
import { type Address, formatAddress, isLoopback, placeOf } from "../../control/address.ts";
import { whyNotReached } from "../../control/dial.ts";
import { PACKAGE } from "../../package/contents/manifest.ts";
import type { Failed } from "../../protocol/failed.ts";
import { withAuthorPaths } from "../failures/author-paths.ts";
import { remoteCause } from "../failures/remote-error.ts";

/**
 * Why a node serves this client no longer, or not at all. A private one says it of the program that has started it. `withheld` says why the
 * client has sent no token, where it has one.
 */
export function refused(
  address: string,
  code: string,
  message: string,
  withheld?: string,
): RfaasError {
  if (address !== "private") {
    const why = code === "RFAAS_FORBIDDEN" && withheld !== undefined ? withheld : message;
    return new LeaseRefused(code, `the node at ${address} refused this client: ${why}`);
  }
  if (code === VersionMismatch.CODE) return new VersionMismatch(message);
  return new NodeUnreachable(address, message);
}

/** Why no connection to the node could be made. */
export function notReached(to: Address, cause: Error): RfaasError {
  if (cause instanceof RfaasError) return cause;
  const address = formatAddress(to);
  const { code } = cause as NodeJS.ErrnoException;
  if (isNoTls(cause, code))
    return new NodeUnreachable(
      address,
      `what answers at ${address} does not speak TLS 1.3 (${cause.message}); is it a node of this version? One that serves with --insecure is reached with --insecure (RFAAS_INSECURE=1), on a network that you trust`,
      { cause },
    );
  if (code === "EAGAIN")
    return new NodeUnreachable(
      address,
      `the node at ${address} has no room for another connection (EAGAIN); see its log, and try again`,
      { cause },
    );
  const why = shortage(cause, "this program") ?? shortageOfDescriptors("this program");
  if (why !== undefined)
    return new EnvironmentError(`the node at ${address} cannot be reached: ${why}`, { cause });
  return new NodeUnreachable(
    address,
    `no node answers at ${address} (${whyNotReached(to, cause)}); ${whatToDo(to, code)}`,
    { cause },
  );
}

/** How the runtime names what goes wrong in a handshake. */
function isNoTls({ message }: Error, code: string | undefined): boolean {
  return code?.startsWith("ERR_SSL_") === true || message.includes("before secure TLS");
}

function whatToDo(address: Address, code: string | undefined): string {
  if (code === "EINVAL") return "check the address";
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") return "check the name, or give the address";
  // Only silence has no code: a machine that is there and lets the packets through refuses at once.
  if (code === undefined)
    return "check the address, and whether a firewall drops what is sent to the port";
  if (address.kind === "unix") return `start one with: rfaas serve --listen ${address.path}`;
  const place = placeOf(address);
  return isLoopback(address.host)
    ? `start one with: rfaas serve --listen ${place}`
    : `check the address, and start one there with: rfaas serve --listen ${place} --allow-remote`;
}

export const closed = () =>
  new LeaseRefused("RFAAS_CONNECTION_CLOSED", "the connection was closed; open another one");

/** Why a node has not granted a lease of the module, which its user calls `name`. */
export function notGranted(
  { code, message, error, limit }: Failed,
  module: string,
  name: string,
): RfaasError {
  if (code === "RFAAS_PACKAGE_UNKNOWN")
    return new PackageUnknown(module.slice(PACKAGE.length), message);
  if (code === "RFAAS_USAGE") return new UsageError(message);
  if (code === "RFAAS_NODE_LOST") return new LeaseLost(message);
  if (!code.startsWith("RFAAS_MODULE") && code !== "RFAAS_NO_FUNCTIONS")
    return new LeaseRefused(code, `the node refused the lease: ${message}`, { limit });
  const cause = error ? { cause: remoteCause(error) } : {};
  return new ModuleLoadError(code, name, withAuthorPaths(message), cause);
}

/** Why a node has refused a request about a lease. */
export function leaseFailure({ code, message }: Failed): RfaasError {
  return code === "RFAAS_LEASE_LOST" ? new LeaseLost(message) : new LeaseRefused(code, message);
}

/** The connection ended by itself. What never greeted may be another program than rfaas. */
export function ended(address: string, greeted: boolean, error?: Error): NodeUnreachable {
  const why = error ? `: ${error.message}` : "";
  // A node that stops says so first.
  const silently = ": the node was killed or has crashed, or something between cut the connection";
  if (greeted)
    return new NodeUnreachable(
      address,
      `the connection to the node at ${address} ended${why || silently}; see the node's log, and connect again`,
    );
  return new NodeUnreachable(
    address,
    address === "private"
      ? `what was started as a private node ended before it greeted${why}; let RFAAS_EXECUTABLE, or rfaas on PATH, be the rfaas executable`
      : `what answers at ${address} ended the connection before it greeted${why}; name an rfaas node, or see its log`,
  );
}

/** A node asks its manager for a certificate: one connection, one question. */
import { type NetworkAddress, formatAddress, placeOf } from "../../control/address.ts";
import { Connection } from "../../control/connection.ts";
import { dial, whyNotReached } from "../../control/dial.ts";
import { mayBeTold } from "../../control/dial-socket.ts";
import {
  NodeUnreachable,
  ProtocolError,
  RfaasError,
  TokenRefused,
  UsageError,
} from "../../base/errors.ts";
import { VERSION } from "../../base/version.ts";
import { DEFAULT_CONNECT_TIMEOUT_MS, within } from "../../base/waiting.ts";
import {
  type Enrol,
  type Enrolled,
  MANAGER_PROTOCOL_VERSION,
  type ManagerToNewcomer,
  type ToManager,
  managerToNewcomerVocabulary,
} from "../../protocol/manager-messages.ts";

/**
 * Asks once.
 *
 * @throws {TokenRefused} the manager does not let the node in
 * @throws {NodeUnreachable} no manager answers in time
 * @throws {PeerNotTrusted} what answers is another one than the manager that is pinned
 * @throws {UsageError} the address does not say whom to trust, or the manager issues no certificates
 */
export async function enrol(
  manager: NetworkAddress,
  asked: Omit<Enrol, "protocol" | "version">,
  timeoutMs = DEFAULT_CONNECT_TIMEOUT_MS,
): Promise<Enrolled> {
  const shown = placeOf(manager);
  const answer = Promise.withResolvers<Enrolled>();
  answer.promise.catch(() => {});
  const connection = new Connection<ManagerToNewcomer, ToManager>(managerToNewcomerVocabulary, {
    message(message) {
      if (message.t === "enrolled") answer.resolve(message);
      else answer.reject(refusal(shown, message));
    },
    closed: (error) =>
      answer.reject(unreachable(shown, error?.message ?? "it closed the connection")),
  });
  const dialling = dial(manager, connection, { role: "manager" });
  const late = () => unreachable(shown, `no answer within ${timeoutMs} ms`);
  try {
    await within(dialling.connected, timeoutMs, late).catch((cause: Error) => {
      throw cause instanceof RfaasError
        ? cause
        : unreachable(shown, whyNotReached(manager, cause), cause);
    });
    if (!mayBeTold(dialling.acquaintance()))
      throw new UsageError(
        `${formatAddress(manager)} does not say whom to trust there, so the join token was not sent; give --manager as rfaas node join-token prints it, with ?ca=, or set RFAAS_CA`,
      );
    connection.send({
      ...{ t: "enrol", protocol: MANAGER_PROTOCOL_VERSION, version: VERSION },
      ...asked,
    });
    return await within(answer.promise, timeoutMs, late);
  } finally {
    connection.terminate();
    dialling.abort();
  }
}

/** Asks one after another until one answers that leads. Resolves with which one that was, and rejects as {@link enrol} does. */
export async function enrolAtAny(
  managers: readonly NetworkAddress[],
  asked: Omit<Enrol, "protocol" | "version">,
): Promise<Enrolled & { manager: NetworkAddress }> {
  let failure: unknown;
  for (const manager of managers)
    try {
      return { manager, ...(await enrol(manager, asked)) };
    } catch (error) {
      if (!(error instanceof NodeUnreachable)) throw error;
      failure = error;
    }
  throw failure;
}

function unreachable(shown: string, reason: string, cause?: Error): NodeUnreachable {
  return new NodeUnreachable(
    shown,
    `no manager answers at ${shown} (${reason}); see whether it runs, and whether a firewall is between`,
    { cause },
  );
}

function refusal(
  shown: string,
  { code, message }: { code: string; message: string },
): TokenRefused | UsageError | ProtocolError | NodeUnreachable {
  const text = `the manager at ${shown} does not let this node join: ${message}`;
  // Another one may lead.
  if (code === "RFAAS_NOT_LEADER") return new NodeUnreachable(shown, text);
  if (code === "RFAAS_TOKEN") return new TokenRefused("refused", text);
  return code === "RFAAS_USAGE" ? new UsageError(text) : new ProtocolError(text);
}

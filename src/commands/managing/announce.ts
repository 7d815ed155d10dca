/** Where a manager listens, how others reach it, and what its log says of that. */
import { resolve } from "node:path";
import { UsageError } from "../../base/errors.ts";
import { type NetworkAddress, foundAt, isLoopback, parseAddress } from "../../control/address.ts";
import type { Security } from "../../manager/enrolment/security.ts";
import type { HttpServer } from "../../manager/http/server.ts";
import { RemoteCounters } from "../../manager/ledger/remote-counters.ts";
import type { ManagerServer } from "../../manager/server.ts";
import { defaultStateDir } from "../../manager/state/state.ts";
import type { TokenCheck } from "../../manager/tokens/keys.ts";
import { log } from "../shared/log.ts";

const INSECURE =
  "--insecure: what other machines say to this manager goes in clear, so others may read and change it on the way; tokens that come so are refused. Leave --insecure out wherever you can";

/** Throws {@link UsageError} for the path of a socket. */
export function networkAddress(text: string): NetworkAddress {
  const address = parseAddress(text);
  if (address.kind !== "unix") return address;
  throw new UsageError(
    `a manager listens at HOST:PORT and not at ${text}; choose another --listen`,
  );
}

/** Whether other machines reach what listens there. */
export const leavesMachine = ({ host }: NetworkAddress): boolean => !isLoopback(host);

/** How what listens there speaks TLS: not at all where its connections do not leave the machine. */
export function securityAt(
  address: NetworkAddress,
  security: Security | undefined,
): Partial<Pick<Security, "accept" | "secureContext" | "known">> {
  if (!security || !leavesMachine(address)) return {};
  const { accept, secureContext, known } = security;
  return { accept, secureContext, known };
}

/** How nodes and clients of other machines are to name the manager. */
export function reachedAt({ address }: ManagerServer, security: Security | undefined): string {
  const listening = networkAddress(address);
  return security && leavesMachine(listening) ? security.addressOf(listening) : foundAt(listening);
}

interface Announced {
  security: Security | undefined;
  tokens: TokenCheck;
  state: string;
  listen: NetworkAddress;
}

export function announce(
  server: ManagerServer,
  http: HttpServer | undefined,
  { security, tokens, state, listen }: Announced,
): void {
  log.info(`managing at ${server.address}${http ? ` and ${http.url}` : ""}, state in ${state}`);
  const listening = networkAddress(server.address);
  if (security && leavesMachine(listen)) {
    const address = reachedAt(server, security);
    log.info(`reach it with: --manager '${address}'   or   RFAAS_MANAGER='${address}'`);
    log.info(`add a node with what this prints: rfaas node join-token${stateFlag(state)}`);
    const { of, fingerprint } = security.pin;
    if (of === "ca") log.info(`or trust its CA everywhere: RFAAS_CA=${fingerprint}`);
  } else {
    const needed = tokens.publicKey === null ? "" : ", with a token for it: rfaas token create";
    const scope = needed && ` --scope node --node NAME${stateFlag(state)}`;
    log.info(`add a node with: rfaas serve --manager ${foundAt(listening)}${needed}${scope}`);
  }
  if (!security && leavesMachine(listen)) log.warn(INSECURE);
  log.info(RemoteCounters.describe());
  if (tokens.publicKey === null)
    log.info("there is no key: any program that reaches the port may be a node or a client");
}

const stateFlag = (state: string): string =>
  state === defaultStateDir() ? "" : ` --state ${resolve(state)}`;

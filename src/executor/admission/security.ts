/** With which key a node shows who it is, where clients come from other machines. */
import { UsageError } from "../../base/errors.ts";
import { type Address, isLoopback } from "../../control/address.ts";
import type { CredentialFiles, FileCredentials } from "../../trust/credentials.ts";
import type { Security } from "./listen.ts";

export interface SecurityOptions {
  /** Both or none. */
  tlsCert?: string | undefined;
  tlsKey?: string | undefined;
  insecure?: boolean | undefined;
  /** Where the node keeps what it makes for itself. */
  stateFolder: string;
  warn(message: string): void;
}

/**
 * Reads the node's key and certificate, or makes them; a node that is reached from its own machine alone has none, unless they are named.
 *
 * @throws {UsageError} one of the two files is missing, or they are of no use
 * @throws {EnvironmentError} a file cannot be read or written
 */
export async function openSecurity(
  listening: Address,
  { tlsCert, tlsKey, insecure = false, stateFolder, warn }: SecurityOptions,
): Promise<{ security: Security; credentials?: FileCredentials }> {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new UsageError(
      "--tls-cert and --tls-key belong together; name both files, or one that has both twice",
    );
  let files: CredentialFiles;
  if (tlsCert !== undefined && tlsKey !== undefined) {
    if (listening.kind === "unix")
      throw new UsageError("--tls-cert is for a port; a socket is open to its owner alone");
    files = { certificate: tlsCert, key: tlsKey };
  } else if (insecure || listening.kind === "unix" || isLoopback(listening.host))
    return { security: { insecure } };
  else {
    const { ownCertificate } = await import("../../trust/own-certificate.ts");
    files = await ownCertificate(stateFolder);
  }
  const { FileCredentials } = await import("../../trust/credentials.ts");
  const { SecureWire } = await import("../../control/secure-wire.ts");
  const credentials = new FileCredentials(files, { warn });
  return {
    security: {
      insecure,
      accept: (raw, events) => new SecureWire(raw, credentials.context(), events),
    },
    credentials,
  };
}

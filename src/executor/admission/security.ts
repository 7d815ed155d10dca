/** With which key a node shows who it is, where clients come from other machines. */
import { EnvironmentError, UsageError } from "../../base/errors.ts";
import { type Address, isLoopback, parseAddress, placeOf } from "../../control/address.ts";
import type { CredentialFiles, FileCredentials } from "../../trust/credentials.ts";
import type { Security } from "./listen.ts";

export interface SecurityOptions {
  /** Both or none. */
  tlsCert?: string | undefined;
  tlsKey?: string | undefined;
  insecure?: boolean | undefined;
  /** Where clients find the node, when it is not where it listens. */
  advertise?: string | undefined;
  /** The two files are the node's own, as a member of its cluster: no other node has that key. */
  isMember?: boolean | undefined;
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
  {
    tlsCert,
    tlsKey,
    insecure = false,
    advertise,
    isMember = false,
    stateFolder,
    warn,
  }: SecurityOptions,
): Promise<{ security: Security; credentials?: FileCredentials }> {
  if ((tlsCert === undefined) !== (tlsKey === undefined))
    throw new UsageError(
      "--tls-cert and --tls-key belong together; name both files, or one that has both twice",
    );
  let files: CredentialFiles;
  let areOwn = false;
  if (tlsCert !== undefined && tlsKey !== undefined) {
    if (listening.kind === "unix")
      throw new UsageError("--tls-cert is for a port; a socket is open to its owner alone");
    files = { certificate: tlsCert, key: tlsKey };
  } else if (insecure || listening.kind === "unix" || isLoopback(listening.host))
    return { security: { insecure } };
  else {
    const { ownCertificate } = await import("../../trust/own-certificate.ts");
    files = await ownCertificate(stateFolder);
    areOwn = true;
  }
  const { FileCredentials } = await import("../../trust/credentials.ts");
  const { SecureSocket } = await import("../../control/accept/secure-socket.ts");
  const { SecureWire } = await import("../../control/accept/secure-wire.ts");
  let credentials: FileCredentials;
  try {
    credentials = new FileCredentials(files, { warn });
  } catch (cause) {
    if (!areOwn || !(cause instanceof UsageError)) throw cause;
    throw new EnvironmentError(
      `the key and certificate that this node has made cannot be used: ${cause.message.split("; ")[0]}; remove ${files.key}, and it makes new ones, which clients must then be told of`,
      { cause },
    );
  }
  return {
    security: {
      insecure,
      key: () => credentials.fingerprint,
      // A site may have given one certificate to many nodes.
      sharesKey: tlsCert !== undefined && !isMember,
      knownAs: [listening, ...(advertise === undefined ? [] : [parseAddress(advertise)])].flatMap(
        (one) => (one.kind === "unix" ? [] : [placeOf(one)]),
      ),
      accept: (raw, events) => new SecureWire(raw, credentials.context(), events),
      acceptUnread: (raw, events) => new SecureSocket(raw, credentials.context(), events),
    },
    credentials,
  };
}

/** Errors about who is at the other end of a connection. */
import { EXIT } from "./exit-codes.ts";
import { RfaasError } from "./rfaas-error.ts";

/**
 * What answers at the address is not the node or manager that is pinned, by its certificate; nothing was sent to it. What to do: check
 * the address and the fingerprint, and ask who runs that machine before you change either.
 */
export class PeerNotTrusted extends RfaasError {
  override readonly name: string = "PeerNotTrusted";
  readonly code: string = "RFAAS_PEER_NOT_TRUSTED";
  readonly address: string;
  /** The fingerprint of the key that it has, `sha256:HEX`; undefined when it showed none. */
  readonly seen: string | undefined;
  constructor(
    message: string,
    { address, seen }: { address: string; seen: string | undefined },
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.address = address;
    this.seen = seen;
  }
  override get exitCode(): number {
    return EXIT.noExecutor;
  }
}

/**
 * The key of what answers at the address is another one than this user has met there before; nothing was sent to it. What to do: ask
 * who runs that machine; where the key was changed on purpose, forget the old one by the command in the message.
 */
export class KeyChanged extends PeerNotTrusted {
  override readonly name = "KeyChanged";
  override readonly code = "RFAAS_KEY_CHANGED";
  /** The fingerprint that was met before. */
  readonly remembered: string;
  /** The file that remembers it. */
  readonly file: string;
  constructor(
    message: string,
    {
      address,
      seen,
      remembered,
      file,
    }: { address: string; seen: string; remembered: string; file: string },
  ) {
    super(message, { address, seen });
    this.remembered = remembered;
    this.file = file;
  }
}

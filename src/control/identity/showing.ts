/** What a client shows a peer of who it is: a token, and once a proof that it is the token's holder; or why it shows none. */
import { TokenRefused } from "../../base/errors.ts";
import { warnOnce } from "../../base/warnings.ts";
import type { PeerEnd } from "./ends.ts";
import { Credential } from "../../protocol/holder/credential.ts";

export class Showing {
  /** As a greeting has it. */
  readonly token: string | null;
  /** Why a token that the client has is not shown, as a clause. */
  readonly withheld: string | undefined;
  /** Why no bearer token is shown. */
  readonly #unsafe: string | undefined;
  readonly #end: PeerEnd;
  /** Until a proof was made: a peer that asks for more would gather them. */
  #holder: Credential | undefined;

  /** `withheld` says why the peer is to get no bearer token; one with a holder's key is of no use to it. */
  constructor(credential: Credential | undefined, end: PeerEnd, withheld: string | undefined) {
    this.#unsafe = withheld;
    this.withheld = credential && !credential.isBound ? withheld : undefined;
    this.token = credential && this.withheld === undefined ? credential.token : null;
    this.#end = end;
    this.#holder = credential?.isBound ? credential : undefined;
  }

  /** Another credential, to the same peer. */
  renewed(credential: Credential): Showing {
    return new Showing(credential, this.#end, this.#unsafe);
  }

  /** To one that cannot be anyone else. */
  static nothing(): Showing {
    return new Showing(undefined, { places: [], key: null }, undefined);
  }

  /** Says that a node of this machine, which has let the client in, does not know its token: it bills the user that it runs as. */
  warnOfOwner(node: string): void {
    if (this.withheld !== undefined)
      warnOnce(
        `the node at ${node} takes this program for its own user: ${this.withheld}`,
        "RFAAS_SECURITY",
      );
  }

  /** The proof for a peer that asks with `nonce`, for the connection or the one `request`. Rejects with {@link TokenRefused} when there is none to give, or was one before. */
  async proof(nonce: string, request?: string): Promise<string> {
    const holder = this.#holder;
    this.#holder = undefined;
    if (holder)
      return await holder.prove({
        nonce,
        ...this.#end,
        ...(request === undefined ? {} : { request }),
      });
    throw new TokenRefused(
      "unproven",
      "the peer asks for a proof that is not its to ask for; see that it is rfaas, and update it",
    );
  }
}

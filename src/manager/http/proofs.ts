/**
 * Proofs that who asks over HTTP holds the key of its token: a request with such a token is answered 401 with a nonce, and comes again
 * with a proof for that nonce and this request. A nonce is good for one request and for a moment; of many that wait, the oldest go first.
 */
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import { TokenRefused } from "../../base/errors.ts";
import { endPlace } from "../../control/identity/ends.ts";
import { type OwnEnd, checkProof, newNonce } from "../../protocol/holder/proof.ts";
import type { Proving } from "../tokens/keys.ts";
import type { KnownEnd } from "../tokens/known-end.ts";
import { HttpError } from "./operation.ts";

const NONCE_LIFE_MS = 10_000;
/** They are given to those alone who show a good token. */
const MAX_NONCES = 4_096;
/** The headers of a request that comes with a proof. */
const PROOF = "rfaas-proof";
const NONCE = "rfaas-nonce";

export class RequestProofs {
  readonly #known: KnownEnd | undefined;
  readonly #now: () => number;
  /** Until when each is good; the oldest first. */
  readonly #nonces = new Map<string, number>();

  /** `known` where connections are TLS. */
  constructor(known: KnownEnd | undefined, now: () => number = () => performance.now()) {
    this.#known = known;
    this.#now = now;
  }

  /** How the request proves what its token asks for. */
  of(request: IncomingMessage): Proving {
    return async (shown) => {
      const { method = "", url = "", headers, socket } = request;
      const { [PROOF]: proof, [NONCE]: nonce } = headers;
      if (typeof proof !== "string" || typeof nonce !== "string" || !this.#take(nonce))
        throw this.#challenge();
      await checkProof(proof, shown, {
        ...this.#endOf(socket),
        nonce,
        request: `${method} ${url}`,
      });
    };
  }

  #challenge(): HttpError {
    const nonce = newNonce();
    this.#nonces.set(nonce, this.#now() + NONCE_LIFE_MS);
    for (const oldest of this.#nonces.keys()) {
      if (this.#nonces.size <= MAX_NONCES) break;
      this.#nonces.delete(oldest);
    }
    const { message } = new TokenRefused(
      "unproven",
      "the token counts for its holder alone, and a proof of its key is missing; ask with rfaas, or make a token for other programs: rfaas token create --bearer",
    );
    return new HttpError(401, "RFAAS_TOKEN", message, {
      headers: { "www-authenticate": `Rfaas nonce="${nonce}"` },
    });
  }

  /** Whether the nonce is good, which it is once. */
  #take(nonce: string): boolean {
    const untilMs = this.#nonces.get(nonce);
    this.#nonces.delete(nonce);
    return untilMs !== undefined && this.#now() < untilMs;
  }

  #endOf({ localAddress, localPort, encrypted }: Socket & { encrypted?: boolean }): OwnEnd {
    const seen =
      localAddress !== undefined && localPort !== undefined
        ? [endPlace({ address: localAddress, port: localPort })]
        : [];
    const known = encrypted ? this.#known : undefined;
    if (!known) return { places: seen, key: null };
    return { places: [...seen, ...known.places], key: known.key(), sharesKey: known.sharesKey };
  }
}

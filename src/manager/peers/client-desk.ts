/** The clients that have subscribed: which nodes there are, and the leases that they may see. */
import { TokenRefused } from "../../base/errors.ts";
import type { Clock } from "../../base/clock.ts";
import { type Handlers, RequestRefused, answering } from "../../control/requests.ts";
import {
  type ClientSays,
  type ManagerToClient,
  type UsageReport,
  clientToManager,
  inParts,
} from "../../protocol/manager-messages.ts";
import { type Claims, readClaims } from "../../protocol/token.ts";
import { Subscribers } from "../nodes/subscribers.ts";
import type { Registry } from "../nodes/registry.ts";
import type { TokenCheck } from "../tokens/keys.ts";
import { leasesFor } from "../tokens/viewer.ts";
import type { ClientPeer, ClientRole, Peer } from "./peer.ts";
import type { Reception } from "./reception.ts";

export interface ClientDeskOptions {
  registry: Registry;
  tokens: TokenCheck;
  reception: Reception;
  /** Of the certificate of the nodes' authority; undefined where there is none. */
  ca: string | undefined;
  /** The newest report of each lease that goes on. */
  leases(): UsageReport[];
  /** Signs a token like one that a client has. Left out, there is nothing to sign with. */
  renewToken?: RenewToken | undefined;
  clock: Clock;
}

/** A token that says the same for as long again. Rejects with `TokenRefused` for one that may not be renewed. */
export type RenewToken = (claims: Claims) => Promise<string>;

export class ClientDesk {
  readonly #options: ClientDeskOptions;
  readonly #subscribers: Subscribers;
  readonly #answer = answering<typeof clientToManager, ClientPeer>(
    clientToManager,
    this.#handlers(),
    {
      // The table answers what clients ask, and nothing else.
      send: (answer, { connection }) => connection.send(answer as ManagerToClient),
    },
  );

  constructor(options: ClientDeskOptions) {
    this.#options = options;
    this.#subscribers = new Subscribers(options.registry, options.clock);
  }

  get count(): number {
    return this.#subscribers.count;
  }

  /** Admits a client, and sends it the list of nodes, now and at every change. */
  subscribed(peer: Peer, viewer: ClientRole["viewer"]): void {
    const { reception, tokens, ca } = this.#options;
    const { publicKey } = tokens;
    reception.greeted(peer, { kind: "client", viewer });
    const renews = this.#options.renewToken && peer.token?.scopes.includes("renew");
    peer.connection.send({
      ...{ t: "manager-key", publicKey },
      ...(ca === undefined ? {} : { ca }),
      ...(renews ? { can: ["renew-token"] } : {}),
    });
    this.#subscribers.add(peer.connection);
  }

  /** Does what a client has said, and answers. */
  heard(message: ClientSays, client: ClientPeer): void {
    this.#answer(message, client);
  }

  gone(client: ClientPeer): void {
    this.#subscribers.delete(client.connection);
  }

  close(): void {
    this.#subscribers.close();
  }

  #handlers(): Handlers<typeof clientToManager, ClientPeer> {
    return {
      "list-leases": (_, { role: { viewer } }, answer) => {
        const { leases } = this.#options;
        if ("refused" in viewer) throw new RequestRefused("RFAAS_TOKEN", viewer.refused);
        const parts = inParts(leasesFor(viewer, leases()));
        for (const [i, part] of parts.entries())
          answer.send({ leases: part, last: i === parts.length - 1 });
      },
      "renew-token": async (_, client) => {
        const { renewToken } = this.#options;
        if (!renewToken || !client.token)
          throw new RequestRefused(
            "RFAAS_TOKEN",
            "this manager asks for no tokens; use it without",
          );
        try {
          const token = await renewToken(client.token);
          client.token = readClaims(token);
          return { token };
        } catch (error) {
          if (!(error instanceof TokenRefused)) throw error;
          throw new RequestRefused("RFAAS_TOKEN", error.message);
        }
      },
    };
  }
}

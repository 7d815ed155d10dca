/** Where clients arrive: connections, greetings, and which clients the agent serves. */
import { MailSender } from "../../../ffi/descriptors.ts";
import { type Clock, SYSTEM_CLOCK } from "../../base/clock.ts";
import { Connection, type ConnectionEvents } from "../../control/connection.ts";
import { machineId } from "../../control/machine.ts";
import type { FabricOffer } from "../../fabric/fabric.ts";
import { explainNoFabric, sharedFabrics } from "../../fabric/registry.ts";
import type { MessageOf } from "../../protocol/declare.ts";
import { LINE } from "../../protocol/lease-messages.ts";
import {
  type ClientMessage,
  type Hello,
  type NodeMessage,
  PROTOCOL_VERSION,
  SERVES,
  clientVocabulary,
  type greetedMessages,
} from "../../protocol/messages.ts";
import { Ungreeted, descriptorLimit } from "../../control/ungreeted.ts";
import { VERSION } from "../../base/version.ts";
import type { Arrived, Identity } from "../admission/identity.ts";
import { isBound } from "../../protocol/holder/credential.ts";
import type { OwnEnd } from "../../protocol/holder/proof.ts";

export type ClientConnection = Connection<ClientMessage, NodeMessage>;

/** The messages of a client that has greeted. */
export type GreetedMessage = MessageOf<(typeof greetedMessages)[number]>;

/** An admitted client. */
export interface Client {
  readonly connection: ClientConnection;
  identity: Identity;
  /** Its token counts no more, since so it is; its leases may go on for so long from when the node heard of it. */
  revoked?: { why: string; graceMs: number } | undefined;
  /** Who it is by another token, which it proves to hold. */
  identifyAgain(token: string): Promise<Identity | { refused: string }>;
  /** It connected in a way that is open to the node's own user alone. */
  readonly trusted: boolean;
  /** Those of the node's fabrics that it can use. */
  readonly fabrics: readonly string[];
  /** Names its machine, and its network there. */
  readonly machine: string;
  /** Our address that it connected to, if it came over TCP. */
  readonly reachedAt: string | undefined;
  /** What sends it descriptors: one of its own, since a mailbox that is not emptied fills what sends to it. */
  readonly sender: MailSender;
  /** Requests for leases that have no host yet, by their ids; one that was withdrawn is not among them. */
  readonly starting: Set<number>;
}

/** How a client came. */
export interface ClientWay {
  reachedAt?: string | undefined;
  /** In a way that is open to the node's own user alone. Default true. */
  trusted?: boolean;
  /** The address that it came from, over TCP. */
  comesFrom?: string | undefined;
  /** Whether other machines can read what it says. Default: they cannot. */
  isExposed?(): boolean;
  /** The node's end of it. Default: one that no proof is for. */
  end?(): OwnEnd;
}

const NO_END: OwnEnd = { places: [], key: null };

export interface ReceptionOptions {
  cores: number;
  memoryBytes: number;
  fabrics: readonly FabricOffer[];
  /** Who a client is, by its token and how it came. */
  identify(token: string | null, by: Arrived): Promise<Identity | { refused: string }>;
  log(level: "info" | "warn", message: string): void;
  /** Default: the machine's. */
  clock?: Clock;
}

export interface ReceptionEvents {
  message(client: Client, message: GreetedMessage): void;
  gone(client: Client): void;
}

/** Timeout of a client's greeting, and of its proof. */
const GREETING_LIMIT_MS = 5_000;
/** Longer than any greeting. */
const MAX_GREETING_BYTES = 8 * 1024;
/** More than the kernel's accept queue holds; beyond it the node drops the oldest. The other descriptors are for leases. */
const UNGREETED_TOTAL = 1_024;
const UNGREETED_PER_DESCRIPTOR = 0.25;

const TOKEN_EXPOSED =
  "the token came in clear, and other machines may have read it; get another one, and connect without --insecure";

export class Reception {
  readonly #options: ReceptionOptions;
  readonly #events: ReceptionEvents;
  readonly #clock: Clock;
  readonly #clients = new Set<Client>();
  readonly #ungreeted: Ungreeted<ClientConnection>;

  constructor(options: ReceptionOptions, events: ReceptionEvents) {
    this.#options = options;
    this.#events = events;
    this.#clock = options.clock ?? SYSTEM_CLOCK;
    const total = Math.min(
      UNGREETED_TOTAL,
      Math.floor(UNGREETED_PER_DESCRIPTOR * descriptorLimit()),
    );
    this.#ungreeted = new Ungreeted({ perPeer: Math.ceil(total / 2), total });
  }

  clients(): Iterable<Client> {
    return this.#clients;
  }

  /** Whether it is still connected. */
  has(client: Client): boolean {
    return this.#clients.has(client);
  }

  tellAll(message: NodeMessage): void {
    for (const { connection } of this.#clients) connection.send(message);
  }

  /** A connection for one client; its handler goes to the socket. */
  newClient(onClosed: () => void, way: ClientWay): ClientConnection {
    let client: Client | undefined;
    let over = false;
    let hasGreeted = false;
    /** Hears the proof that the client is asked for. */
    let proven: ((proof: string) => void) | undefined;
    const prove = (nonce: string): Promise<string> => {
      const proof = Promise.withResolvers<string>();
      proven = proof.resolve;
      silent = this.#clock.after(GREETING_LIMIT_MS, () =>
        refuse(connection, "RFAAS_PROTOCOL", `no proof within ${GREETING_LIMIT_MS} ms`),
      );
      connection.send({ t: "challenge", nonce });
      connection.resume();
      return proof.promise;
    };
    const by = (): Arrived => ({
      trusted: way.trusted ?? true,
      end: way.end?.() ?? NO_END,
      prove,
    });
    const identifyAgain: Client["identifyAgain"] = async (token) => {
      if (way.isExposed?.() && !isBound(token)) return { refused: TOKEN_EXPOSED };
      connection.hold();
      try {
        return await this.#options.identify(token, by());
      } finally {
        if (!over) connection.resume();
      }
    };
    const greeted = async (message: Hello): Promise<void> => {
      if (hasGreeted || !speaksOurs(connection, message)) return;
      hasGreeted = true;
      silent.clear();
      const { token = null } = message;
      if (token !== null && way.isExposed?.() && !isBound(token))
        return refuse(connection, "RFAAS_FORBIDDEN", TOKEN_EXPOSED);
      connection.hold();
      const identity = await this.#options.identify(token, by());
      if (over) return;
      client = this.#greet(connection, way, message, { identity, identifyAgain });
      if (!client) return;
      this.#ungreeted.delete(connection);
      connection.trust();
      connection.resume();
    };
    const events: ConnectionEvents<ClientMessage> = {
      message: (message) => {
        if (message.t === "hello")
          greeted(message).catch((error: Error) => connection.close(error));
        else if (message.t === "prove" && proven) {
          const heard = proven;
          // Each nonce is good for one answer.
          proven = undefined;
          silent.clear();
          connection.hold();
          heard(message.proof);
        } else if (message.t === "prove")
          refuse(connection, "RFAAS_PROTOCOL", "no proof was asked for");
        else if (client) this.#events.message(client, message);
        else refuse(connection, "RFAAS_PROTOCOL", "the first message must be a hello");
      },
      closed: (error) => {
        if (error) {
          connection.send({ t: "refused", code: "RFAAS_PROTOCOL", message: error.message });
          this.#options.log("warn", `a client was disconnected: ${error.message}`);
        }
        over = true;
        silent.clear();
        this.#ungreeted.delete(connection);
        if (client) {
          client.sender.close();
          this.#clients.delete(client);
          this.#events.gone(client);
        }
        onClosed();
      },
    };
    const connection: ClientConnection = new Connection(
      clientVocabulary,
      events,
      MAX_GREETING_BYTES,
    );
    let silent = this.#clock.after(GREETING_LIMIT_MS, () => {
      if (!client) refuse(connection, "RFAAS_PROTOCOL", `no hello within ${GREETING_LIMIT_MS} ms`);
    });
    const goes = this.#ungreeted.add(connection, way.comesFrom ?? "");
    if (goes) refuse(goes, "RFAAS_PROTOCOL", "too many connections wait for a hello; try again");
    return connection;
  }

  /** Admits a client, or tells it why not. */
  #greet(
    connection: ClientConnection,
    way: ClientWay,
    message: Hello,
    {
      identity,
      identifyAgain,
    }: Pick<Client, "identifyAgain"> & { identity: Identity | { refused: string } },
  ): Client | undefined {
    const { fabrics: offer, cores, memoryBytes } = this.#options;
    if ("refused" in identity) return refuse(connection, "RFAAS_FORBIDDEN", identity.refused);
    const sameMachine = message.machine === machineId();
    const fabrics = sharedFabrics(offer, message.fabrics, sameMachine);
    // A client that offers no fabric only asks for the node's state.
    if (fabrics.length === 0 && message.fabrics.length > 0)
      return refuse(
        connection,
        "RFAAS_NO_SHARED_FABRIC",
        explainNoFabric(offer, message.fabrics, sameMachine),
      );
    const client: Client = {
      connection,
      ...{ identity, identifyAgain },
      trusted: way.trusted ?? true,
      fabrics,
      machine: message.machine,
      reachedAt: way.reachedAt,
      sender: new MailSender(),
      starting: new Set(),
    };
    this.#clients.add(client);
    const sharesMemory = offer.some(
      ({ fabric }) => fabric.sharesMemory && fabrics.includes(fabric.name),
    );
    connection.send({
      t: "welcome",
      protocol: PROTOCOL_VERSION,
      version: VERSION,
      pid: process.pid,
      cores,
      memoryBytes,
      fabrics,
      ...(sharesMemory ? nameOf(client.sender) : {}),
      can: [...SERVES, LINE],
    });
    return client;
  }
}

/** A node without descriptors says none: what it lacks is told with the lease that it cannot grant. */
function nameOf(sender: MailSender): { sender?: Uint8Array } {
  try {
    return { sender: sender.name };
  } catch {
    return {};
  }
}

function refuse(connection: ClientConnection, code: string, message: string): undefined {
  connection.send({ t: "refused", code, message });
  connection.close();
}

/** Whether client and node speak the same protocol version; tells a client that speaks another one. */
function speaksOurs(connection: ClientConnection, message: Hello): boolean {
  if (message.protocol === PROTOCOL_VERSION) return true;
  const advice = message.protocol < PROTOCOL_VERSION ? "update the client" : "update the node";
  refuse(
    connection,
    "RFAAS_PROTOCOL",
    `the node speaks protocol ${PROTOCOL_VERSION} (rfaas ${VERSION}), the client ${message.protocol} (rfaas ${message.version}); ${advice}`,
  );
  return false;
}

/** A client's subscription to a manager: which nodes there are, kept up to date; the last known list while there is no manager. */
import type { Address } from "../../control/address.ts";
import {
  EnvironmentError,
  LeaseRefused,
  NodeUnreachable,
  PeerNotTrusted,
  type RfaasError,
  UsageError,
} from "../../base/errors.ts";
import { type Acquaintance, type Reached, whyWithheld } from "../../control/dial-socket.ts";
import { whyNotReached } from "../../control/dial.ts";
import { LastingConnection, type LastingOptions } from "../../control/lasting-connection.ts";
import { peerEnd } from "../../control/identity/ends.ts";
import { Showing } from "../../control/identity/showing.ts";
import { type Dial, dialLink } from "../../control/link.ts";
import { Managers } from "../../control/managers.ts";
import { type Handlers, Requests, answering } from "../../control/requests.ts";
import {
  ListClusterLeases,
  MANAGER_PROTOCOL_VERSION,
  MANAGER_SILENCE_MS,
  type ManagerToClient,
  type NodeInfo,
  RenewTokenHere,
  type ToManager,
  type UsageReport,
  managerToClient,
  managerToClientVocabulary,
} from "../../protocol/manager-messages.ts";
import { Credential } from "../../protocol/holder/credential.ts";
import { shortage } from "../../base/shortage.ts";
import { type Fingerprint, readFingerprint } from "../../trust/fingerprint.ts";
import { VERSION } from "../../base/version.ts";
import type { Voucher } from "./voucher.ts";
import { DEFAULT_PATIENCE, untilAborted, within } from "../../base/waiting.ts";

/** Which nodes are new or different, and the names of those that are gone. */
export interface NodesChange {
  changed: readonly NodeInfo[];
  gone: readonly string[];
}

const NOT_LEADER = "RFAAS_NOT_LEADER";

/** Failures that have said of themselves what is wrong, and what to do. */
const SAYS_ALL = [EnvironmentError, PeerNotTrusted, UsageError];

/** How it reaches its manager; by the machine's network and clock, unless a test has its own. */
export interface SubscriptionOptions extends LastingOptions {
  dial?: Dial;
  /** In clear, also to another machine. */
  insecure?: boolean | undefined;
}

export class ManagerSubscription {
  /** As the managers were named. */
  readonly address: string;
  readonly #managers: Managers;
  /** How many have not answered, one after the other. */
  #unanswered = 0;
  #credential: Credential | undefined;
  /** Which messages the manager takes that not every one does. */
  #can: readonly string[] = [];
  #showing = Showing.nothing();
  readonly #connection: LastingConnection<ManagerToClient, ToManager>;
  readonly #nodes = new Map<string, NodeInfo>();
  readonly #listeners = new Set<(change: NodesChange) => void>();
  readonly #first = Promise.withResolvers<void>();
  readonly #requests: Requests;
  /** A list that is not complete yet. */
  #coming: NodeInfo[] = [];
  #refusal: RfaasError | undefined;
  /** What the last one has said that does not lead. */
  #notLeader: RfaasError | undefined;
  #peer: Acquaintance | undefined;
  #ca: Fingerprint | undefined;
  #connected = false;
  #closed = false;

  private constructor(
    managers: Managers,
    token: string | null,
    { dial = dialLink, insecure, ...lasting }: SubscriptionOptions,
  ) {
    this.#managers = managers;
    this.address = managers.addresses;
    this.#credential = Credential.of(token);
    this.#first.promise.catch(() => {});
    this.#requests = new Requests({
      // The table sends only messages that a client may send.
      send: (message) => this.#connection.send(message as ToManager),
      failure: ({ code, message }) => this.#refusedFor(code, message),
      onWaiting: (waiting) => this.#connection.hold(waiting),
      ...lasting,
    });
    const heard = answering(managerToClient, this.#handlers());
    this.#connection = new LastingConnection<ManagerToClient, ToManager>(
      (events) =>
        dial(managers.current, managerToClientVocabulary, events, { role: "manager", insecure }),
      MANAGER_SILENCE_MS,
      {
        opened: (peer, reached) => this.#subscribe(peer, reached),
        message: (message) => {
          if (!this.#requests.heard(message)) heard(message);
        },
        lost: (reason) => this.#lost(reason),
      },
      { maxDelayMs: managers.maxDelayMs, ...lasting },
    );
  }

  /**
   * Subscribes; resolves when the list of nodes has come, and waits no longer than `patience` says. From then on the subscription
   * updates the list in the background, and does not keep the process alive.
   *
   * @throws {NodeUnreachable} when no manager answers, {@link LeaseRefused} when it refuses this client, {@link TokenRefused} for a
   * token that cannot be shown.
   */
  static async connect(
    manager: Address | readonly Address[] | string,
    token: string | null = null,
    { timeoutMs, signal } = DEFAULT_PATIENCE,
    options: SubscriptionOptions = {},
  ): Promise<ManagerSubscription> {
    const subscription = new ManagerSubscription(new Managers(manager), token, options);
    try {
      const late = () => subscription.#late(timeoutMs);
      const first = within(subscription.#first.promise, timeoutMs, late, undefined, options.clock);
      await untilAborted(first, signal);
      subscription.#connection.hold(false);
      return subscription;
    } catch (error) {
      subscription.close();
      throw error;
    }
  }

  /** The nodes by name, as last heard. */
  get nodes(): ReadonlyMap<string, NodeInfo> {
    return this.#nodes;
  }

  /** Whether {@link nodes} is up to date. */
  get connected(): boolean {
    return this.#connected;
  }

  /** How a node of this name is known: by a certificate for it, where the manager's authority issues some. */
  vouchFor(name: string): Voucher {
    const withheld = this.#peer && whyWithheld(this.#peer, "manager", this.#managers.place);
    return { name, ca: this.#ca, withheld };
  }

  /** Calls `listener` at every change, after {@link nodes} has it. Returns a function that unsubscribes. */
  onChange(listener: (change: NodesChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The newest report of each lease in the cluster. Rejects with {@link NodeUnreachable} while there is no manager. */
  async leases(): Promise<UsageReport[]> {
    if (!this.#connected) throw this.#unreachable("there is no connection at this moment");
    const leases: UsageReport[] = [];
    await this.#requests.ask(
      ListClusterLeases,
      {},
      { onReply: (part) => void leases.push(...part.leases) },
    );
    return leases;
  }

  /** Shows this token when it connects again. Throws `TokenRefused` for one that cannot be shown. */
  useToken(token: string): void {
    this.#credential = Credential.read(token);
  }

  /**
   * A newer token of the same user and key, without that key, for one with the scope `renew`; undefined where the manager gives none, or is
   * not there.
   *
   * @throws {LeaseRefused} it is not to be renewed any more
   */
  async renewToken(): Promise<string | undefined> {
    if (!this.#connected || !this.#can.includes("renew-token")) return undefined;
    return (await this.#requests.ask(RenewTokenHere, {}, { holds: false })).token;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connected = false;
    this.#connection.close();
    this.#listeners.clear();
    this.#requests.end(this.#unreachable("the subscription was closed"));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #subscribe(peer: Acquaintance | undefined, reached: Reached | undefined): void {
    this.#coming = [];
    this.#peer = peer;
    const withheld = peer && whyWithheld(peer, "manager", this.#managers.place);
    const end = peerEnd(this.#managers.current, peer, reached);
    this.#showing = new Showing(this.#credential, end, withheld);
    this.#connection.send({
      t: "subscribe",
      protocol: MANAGER_PROTOCOL_VERSION,
      version: VERSION,
      token: this.#showing.token,
    });
  }

  #handlers(): Handlers<typeof managerToClient> {
    return {
      refused: ({ code, message }) => void (this.#refusal = this.#refusedFor(code, message)),
      challenge: ({ nonce }) =>
        void this.#showing.proof(nonce).then(
          (proof) => this.#connection.send({ t: "prove", proof }),
          (error: RfaasError) => this.#refuse(error),
        ),
      nodes: ({ nodes, last }) => {
        this.#coming.push(...nodes);
        if (last) this.#replace();
      },
      "nodes-changed": ({ nodes, gone }) => this.#change({ changed: nodes, gone }),
      "manager-key": ({ ca, can = [] }) => {
        this.#ca = readFingerprint(ca ?? "");
        this.#can = can;
      },
      alive: () => {},
    };
  }

  #replace(): void {
    const nodes = this.#coming;
    this.#coming = [];
    this.#refusal = undefined;
    this.#notLeader = undefined;
    this.#connected = true;
    this.#connection.accepted();
    const there = new Set(nodes.map(({ name }) => name));
    const gone = [...this.#nodes.keys()].filter((name) => !there.has(name));
    const changed = nodes.filter((node) => !Bun.deepEquals(node, this.#nodes.get(node.name)));
    if (changed.length > 0 || gone.length > 0) this.#change({ changed, gone });
    this.#first.resolve();
  }

  #change(change: NodesChange): void {
    for (const node of change.changed) this.#nodes.set(node.name, node);
    for (const name of change.gone) this.#nodes.delete(name);
    for (const listener of this.#listeners) listener(change);
  }

  #lost(reason: Error): void {
    this.#connected = false;
    const own = SAYS_ALL.some((kind) => reason instanceof kind) ? reason : undefined;
    const why = whyNotReached(this.#managers.current, reason);
    const refusal = this.#refusal;
    const error = refusal ?? own ?? this.#unreachable(why, reason);
    this.#requests.end(error);
    this.#managers.next();
    this.#unanswered = refusal ? 0 : this.#unanswered + 1;
    // One that stands by says that another one leads, or soon does.
    if (refusal?.code === NOT_LEADER) {
      this.#notLeader = refusal;
      this.#refusal = undefined;
      return;
    }
    if (refusal ?? own ?? this.#unanswered >= this.#managers.count) this.#first.reject(error);
  }

  #late(timeoutMs: number): RfaasError {
    if (this.#refusal) return this.#refusal;
    if (!this.#notLeader) return this.#unreachable(`no answer within ${timeoutMs} ms`);
    return new NodeUnreachable(
      this.address,
      `no manager at ${this.#managers.places} has led within ${timeoutMs} ms: ${this.#notLeader.message}`,
      { cause: this.#notLeader },
    );
  }

  #refuse(error: RfaasError): void {
    this.#refusal = error;
    this.#first.reject(error);
  }

  #refusedFor(code: string, message: string): LeaseRefused {
    const why = (code === "RFAAS_TOKEN" ? this.#showing.withheld : undefined) ?? message;
    return new LeaseRefused(
      code,
      `the manager at ${this.#managers.place} refused this client: ${why}`,
    );
  }

  #unreachable(reason: string, cause?: Error): RfaasError {
    const why = shortage(cause, "this program");
    if (why !== undefined)
      return new EnvironmentError(
        `the manager at ${this.#managers.places} cannot be reached: ${why}`,
        {
          cause,
        },
      );
    return new NodeUnreachable(
      this.address,
      `no manager answers at ${this.#managers.places} (${reason}); start one with: rfaas manager --listen ${this.#managers.place}`,
      { cause },
    );
  }
}

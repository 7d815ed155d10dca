/** A client's control connection to one node: greeting, leases, and notices that leases have ended. */
import { type Address, formatAddress } from "../../control/address.ts";
import { Connection } from "../../control/connection.ts";
import type { Dialled } from "../../control/dial.ts";
import { type Handlers, Requests, answering } from "../../control/requests.ts";
import type { Acquaintance } from "../../control/dial-socket.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import { fabricNamed } from "../../fabric/registry.ts";
import { explained } from "../../base/shortage.ts";
import { LeaseRefused, NodeUnreachable, type RfaasError } from "../../base/errors.ts";
import { machineId } from "../../control/machine.ts";
import {
  Allocate,
  GetUsage,
  type Granted,
  LINE,
  type Offered,
  Release,
  Renew,
  RenewToken,
  type UsageReply,
  WaitInLine,
} from "../../protocol/lease-messages.ts";
import {
  type ClientMessage,
  GetStatus,
  type Leases,
  ListLeases,
  type NodeMessage,
  PROTOCOL_VERSION,
  type Status,
  type Welcome,
  nodeMessages,
  nodeVocabulary,
} from "../../protocol/messages.ts";
import { Credential } from "../../protocol/holder/credential.ts";
import { VERSION } from "../../base/version.ts";
import { closed, ended, leaseFailure, notGranted, refused } from "./failures.ts";
import type { LeaseListener } from "./lease-listener.ts";
import { openMailbox, received } from "./mailbox.ts";
import { type Met, reach } from "./reach.ts";
import { Showing } from "../../control/identity/showing.ts";
import { PackageSender } from "./upload.ts";
import {
  DEFAULT_ANSWER_TIMEOUT_MS,
  DEFAULT_PATIENCE,
  type Patience,
  untilAborted,
  within,
} from "../../base/waiting.ts";

/**
 * A grant, with the descriptors that came with it where client and workers share memory: the memory, the host's pidfd, the notify
 * socket, one socket per worker. Else there are none.
 */
export interface GrantedLease {
  granted: Granted;
  descriptors: number[];
}

export type AllocateRequest = Omit<Allocate, "mailbox">;

/** Timeout of a release on a node that hangs. */
const RELEASE_LIMIT_MS = 10_000;

export class NodeConnection {
  readonly address: string;
  /** Sends requests to the node and matches its replies to them. */
  readonly requests: Requests;
  readonly packages: PackageSender;
  /** Set when the node says that it stops; its leases stay usable until it ends them. */
  draining = false;
  /** Where it was reached, over a network. */
  reached: Met["at"];
  /** What the node said of itself. */
  welcome!: Welcome;
  /** Hears that leases end with the token that was shown. */
  onTokenExpires: () => void = () => {};
  readonly #connection: Connection<NodeMessage, ClientMessage>;
  readonly #welcome = Promise.withResolvers<Welcome>();
  readonly #listeners = new Map<number, LeaseListener>();
  /** What is to be done when the node wants an offer back, by its number. */
  readonly #recalls = new Map<number, () => void>();
  readonly #heard = answering(nodeMessages, this.#handlers());
  readonly #closed = Promise.withResolvers<void>();
  readonly #fabrics: readonly string[];
  readonly #answerTimeoutMs: number;
  #showing = Showing.nothing();
  #over: RfaasError | undefined;

  private constructor(address: string, fabrics: readonly string[], patience: Patience) {
    this.address = address;
    this.#fabrics = fabrics;
    this.#answerTimeoutMs = patience.answerTimeoutMs ?? DEFAULT_ANSWER_TIMEOUT_MS;
    this.#welcome.promise.catch(() => {});
    this.requests = new Requests({
      send: (message) => {
        this.#throwIfOver();
        // The table sends only messages that a client may send.
        this.#connection.send(message as ClientMessage);
      },
      failure: ({ code, message, limit }) => new LeaseRefused(code, message, { limit }),
      onWaiting: (waiting) => {
        // An idle connection does not keep the program alive.
        if (waiting) this.#connection.ref();
        else this.#connection.unref();
      },
    });
    const tell = (message: ClientMessage) => this.#tell(message);
    this.packages = new PackageSender(this.requests, tell, this.#answerTimeoutMs);
    this.#connection = new Connection(nodeVocabulary, {
      message: (message) => {
        if (!this.requests.heard(message)) this.#heard(message);
      },
      closed: (error) => this.#end(ended(address, Boolean(this.welcome), error)),
    });
  }

  /**
   * Connects and greets. `withhold` says why a node that is so known gets no bearer token, beside that it is not known well enough.
   *
   * @throws {NodeUnreachable} no node answers in time
   * @throws {PeerNotTrusted} another machine than the one that is pinned, or was met before, answers
   * @throws {LeaseRefused} the node does not serve this client
   * @throws {TokenRefused} the token is none that can be shown
   */
  static async connect(
    address: Address,
    fabrics: readonly string[],
    token: string | null,
    patience = DEFAULT_PATIENCE,
    to: Dialled & { withhold?: (known: Acquaintance) => string | undefined } = {},
  ): Promise<NodeConnection> {
    const startedMs = performance.now();
    const credential = Credential.of(token);
    const node = new NodeConnection(formatAddress(address), fabrics, patience);
    let known: Acquaintance | undefined;
    await reach(address, node.#connection, patience, to, (met) => {
      node.reached = met.at;
      ({ known } = met);
      node.#showing = new Showing(credential, met.end, to.withhold?.(known) ?? met.withheld);
      node.#greet();
    });
    const greeted = await node.#greeted(patience, performance.now() - startedMs);
    if (known?.by === "local") node.#showing.warnOfOwner(node.address);
    return greeted;
  }

  /** Greets a node at the other end of a descriptor. `exited` rejects when its process ends. */
  static async adopt(
    fd: number,
    fabrics: readonly string[],
    exited: Promise<never>,
    patience: Patience,
  ): Promise<NodeConnection> {
    const node = new NodeConnection("private", fabrics, patience);
    exited.catch((error) => node.#end(error));
    await watchDescriptor(fd, node.#connection.handler());
    node.#greet();
    return await node.#greeted(patience, 0);
  }

  #greet(): void {
    this.#connection.send({
      t: "hello",
      protocol: PROTOCOL_VERSION,
      version: VERSION,
      pid: process.pid,
      fabrics: [...this.#fabrics],
      machine: machineId(),
      token: this.#showing.token,
    });
  }

  /** Resolves when the node has greeted. */
  async #greeted({ timeoutMs, signal }: Patience, passedMs: number): Promise<NodeConnection> {
    const late = () =>
      new NodeUnreachable(
        this.address,
        `the node at ${this.address} did not greet within ${timeoutMs} ms; is it an rfaas node?`,
      );
    try {
      const greeted = within(this.#welcome.promise, Math.max(0, timeoutMs - passedMs), late);
      this.welcome = await untilAborted(greeted, signal);
      this.#connection.unref();
      return this;
    } catch (error) {
      this.#connection.terminate();
      throw error;
    }
  }

  /**
   * Asks for a lease and waits until its workers have loaded the module, which the user calls `name`. When the signal aborts, the
   * client tells the node that it no longer wants the lease.
   */
  async allocate(
    request: AllocateRequest,
    name: string,
    listener: LeaseListener,
    signal?: AbortSignal,
  ): Promise<GrantedLease> {
    this.#throwIfOver();
    let mail: ReturnType<typeof openMailbox> | undefined;
    try {
      if (fabricNamed(request.fabric)?.sharesMemory) mail = openMailbox(this.welcome.sender);
      const fields = { ...request, mailbox: mail?.name ?? null };
      if (request.offer !== undefined) this.#recalls.delete(request.offer);
      const granted = await this.requests.ask(Allocate, fields, {
        signal,
        failure: (failed) => notGranted(failed, request.module, name),
        // Registered at once: the next message may already report the loss of the lease.
        onReply: ({ lease }) => void this.#listeners.set(lease, listener),
        onAbandon: (id) => this.#tell({ t: "withdraw", request: id }),
        onLate: ({ lease }) => void this.release(lease),
      });
      if (!mail) return { granted, descriptors: [] };
      try {
        return { granted, descriptors: received(mail.mailbox, granted, request.workers) };
      } catch (error) {
        await this.release(granted.lease);
        throw error;
      }
    } catch (error) {
      throw explained(error, "no lease can be taken");
    } finally {
      mail?.mailbox.close();
    }
  }

  /** Whether the node lets clients {@link waitInLine}. */
  get hasLine(): boolean {
    return this.welcome.can?.includes(LINE) ?? false;
  }

  /** Waits in the node's line until it has offered all that is wanted; the node may want it back until it is taken. */
  async waitInLine(
    wanted: WaitInLine,
    { offered, recalled }: { offered: (offer: Offered) => void; recalled: () => void },
    signal: AbortSignal,
  ): Promise<void> {
    await this.requests.ask(WaitInLine, wanted, {
      signal,
      onReply: (offer) => {
        this.#recalls.set(offer.offer, recalled);
        offered(offer);
      },
      onAbandon: (id) => this.pass(id),
    });
  }

  /** Gives an offer back, or a place in line up. */
  pass(place: number): void {
    this.#recalls.delete(place);
    this.#tell({ t: "withdraw", request: place });
  }

  /** Releases a lease and waits at most `limitMs` for the node's acknowledgement. */
  async release(lease: number, limitMs = RELEASE_LIMIT_MS): Promise<void> {
    this.#listeners.delete(lease);
    if (this.#over) return;
    // A closed connection returns all its leases to the node; a node that hangs keeps them.
    await this.requests.ask(Release, { lease }, { timeoutMs: limitMs }).catch(() => {});
  }

  /** Tells the node that the client has attached the lease's memory. */
  redeem(lease: number): void {
    this.#tell({ t: "redeem", lease });
  }

  /**
   * Shows a newer token of the same user and key, by which leases go on. Resolves at once where the node takes none, or is not to see it.
   *
   * @throws {LeaseRefused} the node does not take it
   */
  async renewToken(text: string): Promise<void> {
    if (this.#over || !this.welcome.can?.includes("renew-token")) return;
    this.#showing = this.#showing.renewed(Credential.read(text));
    const { token } = this.#showing;
    if (token !== null) await this.requests.ask(RenewToken, { token }, { holds: false });
  }

  /**
   * Asks for another `ttlMs`, or as much as before; the node's reply reaches the lease's listener as {@link LeaseListener.renewed}.
   *
   * @throws {LeaseLost} the lease is over
   */
  async renew(lease: number, ttlMs: number | null, signal?: AbortSignal): Promise<void> {
    await this.requests.ask(
      Renew,
      { lease, ttlMs },
      {
        // A pending renewal of an idle lease must not keep the process alive.
        holds: false,
        signal,
        failure: leaseFailure,
        onReply: ({ expiresInMs, usage }) =>
          this.#listeners.get(lease)?.renewed(expiresInMs, usage),
      },
    );
  }

  /** What a lease has cost so far, or in all. Rejects with {@link LeaseLost} when the node does not know it any more. */
  async usage(lease: number, signal?: AbortSignal): Promise<UsageReply> {
    const options = { signal, timeoutMs: this.#answerTimeoutMs, failure: leaseFailure };
    return await this.requests.ask(GetUsage, { lease }, options);
  }

  /** Has the node tell a call's function that its caller no longer waits. */
  abort(lease: number, worker: number, slot: number, sequence: number, gently: boolean): void {
    this.#tell({ t: "abort", lease, worker, slot, sequence, gently });
  }

  status(signal?: AbortSignal): Promise<Status> {
    return this.requests.ask(GetStatus, {}, { signal, timeoutMs: this.#answerTimeoutMs });
  }

  /** The leases that the node shows to this client. */
  leases(signal?: AbortSignal): Promise<Leases> {
    return this.requests.ask(ListLeases, {}, { signal, timeoutMs: this.#answerTimeoutMs });
  }

  /** Ends the connection for a `reason`; the node takes back what was leased over it. */
  async close(reason: RfaasError = closed()): Promise<void> {
    this.#end(reason);
    this.#connection.close();
    // Unacknowledged data to a dead peer must not keep the process alive.
    this.#connection.unref();
    await this.#closed.promise;
  }

  /** Why it has ended, if it has. */
  get over(): RfaasError | undefined {
    return this.#over;
  }

  #throwIfOver(): void {
    if (this.#over) throw this.#over;
  }

  #tell(message: ClientMessage): void {
    this.#connection.send(message);
  }

  #handlers(): Handlers<typeof nodeMessages> {
    const listeners = this.#listeners;
    return {
      challenge: ({ nonce }) =>
        void this.#showing.proof(nonce).then(
          (proof) => this.#tell({ t: "prove", proof }),
          (error: RfaasError) => this.#end(error),
        ),
      welcome: (welcome) => this.#welcome.resolve(welcome),
      refused: ({ code, message }) =>
        this.#end(refused(this.address, code, message, this.#showing.withheld)),
      draining: () => void (this.draining = true),
      lost: ({ lease, message, ...cause }) => listeners.get(lease)?.lost(message, cause),
      "worker-lost": ({ lease, worker, message }) =>
        listeners.get(lease)?.workerLost(worker, message),
      revoking: ({ lease, deadlineInMs, message, cause }) => {
        listeners.get(lease)?.revoking(deadlineInMs, message, cause);
        if (cause === "token-expires") this.onTokenExpires();
      },
      "goes-on": ({ lease, expiresInMs }) => listeners.get(lease)?.goesOn(expiresInMs),
      recall: ({ offer }) => this.#recalls.get(offer)?.(),
      log: ({ lease, line }) => listeners.get(lease)?.logged(line),
      progress: ({ lease, report }) => listeners.get(lease)?.progressed(report),
    };
  }

  #end(error: RfaasError): void {
    if (this.#over) return;
    this.#over = error;
    this.#welcome.reject(error);
    this.requests.end(error);
    for (const listener of this.#listeners.values()) listener.disconnected(error.message);
    this.#listeners.clear();
    this.#closed.resolve();
  }
}

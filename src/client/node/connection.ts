/** A client's control connection to one node: greeting, leases, notes about their ends. */
import { Mailbox, closeDescriptor } from "../../../ffi/descriptors.ts";
import { type Address, formatAddress } from "../../control/address.ts";
import { Connection } from "../../control/connection.ts";
import { dial } from "../../control/dial.ts";
import { watchDescriptor } from "../../control/watch-descriptor.ts";
import { fabricNamed } from "../../fabric/registry.ts";
import { explained, shortage, shortageOfDescriptors } from "../../base/shortage.ts";
import {
  EnvironmentError,
  type RfaasError,
  LeaseLost,
  LeaseRefused,
  ModuleLoadError,
  NodeUnreachable,
  PackageUnknown,
  UsageError,
} from "../../base/errors.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { machineId } from "../../control/machine.ts";
import {
  type Allocate,
  type ClientMessage,
  type Granted,
  type LogLine,
  type NodeMessage,
  PROTOCOL_VERSION,
  type ProgressReport,
  type Status,
  type Welcome,
  nodeVocabulary,
} from "../../protocol/messages.ts";
import { PACKAGE } from "../../package/contents/manifest.ts";
import type { Leases } from "../../protocol/listing-messages.ts";
import type { Usage } from "../../protocol/usage.ts";
import { VERSION } from "../../base/version.ts";
import { PackageSender } from "./upload.ts";
import { withAuthorPaths } from "../failures/author-paths.ts";
import { remoteCause } from "../failures/remote-error.ts";
import { DEFAULT_PATIENCE, type Patience, untilAborted, within } from "../../base/waiting.ts";

/** What a lease hears about itself. */
export interface LeaseListener {
  lost(message: string, signal?: string): void;
  /** The connection to the node has ended, and whoever had the lease over it has lost it. */
  disconnected(message: string): void;
  workerLost(worker: number, message: string): void;
  renewed(expiresInMs: number): void;
  revoking(deadlineInMs: number, message: string): void;
  logged(line: LogLine): void;
  progressed(report: ProgressReport): void;
}

/**
 * A grant, with the descriptors that came with it where client and workers share memory: the memory, the host's pidfd, the notify
 * socket, one socket per worker. Else there are none.
 */
export interface GrantedLease {
  granted: Granted;
  descriptors: number[];
}

export type AllocateRequest = Omit<Allocate, "t" | "id" | "mailbox">;
type Pending<T> = PromiseWithResolvers<T>;

/** A node that hangs keeps nobody longer than this from going on. */
const RELEASE_LIMIT_MS = 10_000;

export class NodeConnection {
  readonly address: string;
  /** Set when the node says that it stops; its leases go on for a while. */
  draining = false;
  readonly packages: PackageSender;
  readonly #connection: Connection<NodeMessage, ClientMessage>;
  readonly #welcome = Promise.withResolvers<Welcome>();
  readonly #grants = new Map<
    number,
    Pending<Granted> & { module: string; name: string; listener: LeaseListener }
  >();
  readonly #statuses = new Map<number, Pending<Status>>();
  readonly #listings = new Map<number, Pending<Leases>>();
  readonly #usages = new Map<number, Pending<Usage>>();
  readonly #releases = new Map<number, Pending<void>>();
  readonly #listeners = new Map<number, LeaseListener>();
  readonly #closed = Promise.withResolvers<void>();
  readonly #fabrics: readonly string[];
  readonly #token: string | null;
  #over: RfaasError | undefined;
  #nextId = 1;
  #held = 0;

  private constructor(address: string, fabrics: readonly string[], token: string | null) {
    this.address = address;
    this.#fabrics = fabrics;
    this.#token = token;
    this.#welcome.promise.catch(() => {});
    this.packages = new PackageSender({
      send: (message) => {
        this.#throwIfOver();
        this.#connection.send(message);
      },
      nextId: () => this.#nextId++,
      hold: () => this.#hold(),
    });
    this.#connection = new Connection(nodeVocabulary, {
      message: (message) => this.#heard(message),
      closed: (error) =>
        this.#end(
          new NodeUnreachable(
            address,
            `the connection to the node at ${address} ended${error ? `: ${error.message}` : ""}; see the node's log, and connect again`,
          ),
        ),
    });
  }

  /**
   * Connects and greets.
   *
   * @throws {NodeUnreachable} no node answers in time
   * @throws {LeaseRefused} the node does not serve this client
   */
  static async connect(
    address: Address,
    fabrics: readonly string[],
    token: string | null,
    patience = DEFAULT_PATIENCE,
  ): Promise<NodeConnection> {
    const startedMs = performance.now();
    const shown = formatAddress(address);
    const node = new NodeConnection(shown, fabrics, token);
    const { timeoutMs, signal } = patience;
    const dialling = dial(address, node.#connection);
    const late = () => new Error(`no answer within ${timeoutMs} ms`);
    try {
      await untilAborted(within(dialling.connected, timeoutMs, late), signal);
    } catch (cause) {
      dialling.giveUp();
      if (signal?.aborted) throw cause;
      throw notReached(shown, cause as Error);
    }
    return await node.#greet(patience, performance.now() - startedMs);
  }

  /** Greets a node at the other end of a descriptor. `exited` rejects when its process ends. */
  static async adopt(
    fd: number,
    fabrics: readonly string[],
    exited: Promise<never>,
    patience: Patience,
  ): Promise<NodeConnection> {
    const node = new NodeConnection("private", fabrics, null);
    exited.catch((error) => node.#end(error));
    await watchDescriptor(fd, node.#connection.handler());
    return await node.#greet(patience, 0);
  }

  async #greet({ timeoutMs, signal }: Patience, passedMs: number): Promise<NodeConnection> {
    this.#connection.send({
      t: "hello",
      protocol: PROTOCOL_VERSION,
      version: VERSION,
      pid: process.pid,
      fabrics: [...this.#fabrics],
      machine: machineId(),
      token: this.#token,
    });
    const late = () =>
      new NodeUnreachable(
        this.address,
        `the node at ${this.address} did not greet within ${timeoutMs} ms; is it an rfaas node?`,
      );
    try {
      const leftMs = Math.max(0, timeoutMs - passedMs);
      const greeted = within(this.#welcome.promise, leftMs, late);
      this.welcome = await untilAborted(greeted, signal);
      this.#rest();
      return this;
    } catch (error) {
      this.#connection.terminate();
      throw error;
    }
  }

  /** What the node said of itself. */
  welcome!: Welcome;

  /**
   * Asks for a lease and waits until its workers have loaded the module, which its user calls `name`. When the signal aborts, the
   * node hears that the lease is not wanted any more.
   */
  async allocate(
    request: AllocateRequest,
    name: string,
    listener: LeaseListener,
    signal?: AbortSignal,
  ): Promise<GrantedLease> {
    this.#throwIfOver();
    let mailbox: Mailbox | undefined;
    const id = this.#nextId++;
    try {
      if (fabricNamed(request.fabric)?.sharesMemory) mailbox = new Mailbox();
      const pending = {
        ...Promise.withResolvers<Granted>(),
        module: request.module,
        name,
        listener,
      };
      this.#grants.set(id, pending);
      this.#connection.ref();
      this.#connection.send({ t: "allocate", id, mailbox: mailbox?.name ?? null, ...request });
      const granted = await untilAborted(pending.promise, signal);
      if (!mailbox) return { granted, descriptors: [] };
      try {
        return { granted, descriptors: received(mailbox, granted, request.workers) };
      } catch (error) {
        await this.release(granted.lease);
        throw error;
      }
    } catch (error) {
      throw explained(error, "no lease can be taken");
    } finally {
      mailbox?.close();
      if (this.#grants.delete(id)) this.#connection.send({ t: "withdraw", id });
      this.#rest();
    }
  }

  /** Gives a lease back and waits until the node has it, at most `limitMs`. */
  async release(lease: number, limitMs = RELEASE_LIMIT_MS): Promise<void> {
    this.#listeners.delete(lease);
    if (this.#over) return;
    const pending = Promise.withResolvers<void>();
    this.#releases.set(lease, pending);
    this.#connection.ref();
    this.#connection.send({ t: "release", lease });
    const overdue = setTimeout(() => pending.resolve(), limitMs);
    await pending.promise;
    clearTimeout(overdue);
    this.#releases.delete(lease);
    this.#rest();
  }

  /** Says that the lease's memory is reached and used. */
  redeem(lease: number): void {
    this.#connection.send({ t: "redeem", lease });
  }

  /** Asks for another `ttlMs`, or as much as before; its listener hears the answer. */
  renew(lease: number, ttlMs: number | null): void {
    this.#connection.send({ t: "renew", lease, ttlMs });
  }

  /** What a lease has cost so far. Rejects with {@link LeaseLost} when it is over. */
  usage(lease: number, signal?: AbortSignal): Promise<Usage> {
    return this.#ask(this.#usages, { t: "ask-usage", lease }, signal);
  }

  /** Tells the node that nobody waits for a call any more. */
  cancel(lease: number, worker: number, slot: number, sequence: number, gently: boolean): void {
    this.#connection.send({ t: "cancel", lease, worker, slot, sequence, gently });
  }

  status(signal?: AbortSignal): Promise<Status> {
    return this.#ask(this.#statuses, { t: "ask-status" }, signal);
  }

  /** The leases that the node shows to this client. */
  leases(signal?: AbortSignal): Promise<Leases> {
    return this.#ask(this.#listings, { t: "ask-leases" }, signal);
  }

  /** Ends the connection for a `reason`; the node takes back what was leased over it. */
  async close(reason: RfaasError = closed()): Promise<void> {
    this.#end(reason);
    this.#connection.close();
    // What a vanished node has not acknowledged keeps nobody.
    this.#connection.unref();
    await this.#closed.promise;
  }

  async #ask<Answer>(
    waiting: Map<number, Pending<Answer>>,
    question: { t: "ask-status" } | { t: "ask-leases" } | { t: "ask-usage"; lease: number },
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    this.#throwIfOver();
    const id = this.#nextId++;
    const pending = Promise.withResolvers<Answer>();
    waiting.set(id, pending);
    this.#connection.ref();
    this.#connection.send({ ...question, id });
    try {
      return await untilAborted(pending.promise, signal);
    } finally {
      waiting.delete(id);
      this.#rest();
    }
  }

  #hold(): Disposable {
    this.#held++;
    this.#connection.ref();
    return {
      [Symbol.dispose]: () => {
        this.#held--;
        this.#rest();
      },
    };
  }

  /** An idle connection does not keep the program alive. */
  #rest(): void {
    const waiting = [this.#grants, this.#statuses, this.#listings, this.#usages, this.#releases];
    if (this.#held === 0 && waiting.every((answers) => answers.size === 0))
      this.#connection.unref();
  }

  #throwIfOver(): void {
    if (this.#over) throw this.#over;
  }

  #heard(message: NodeMessage): void {
    if (this.packages.heard(message)) return;
    switch (message.t) {
      case "welcome":
        return this.#welcome.resolve(message);
      case "refused":
        return this.#end(
          new LeaseRefused(
            message.code,
            `the node at ${this.address} refused this client: ${message.message}`,
          ),
        );
      case "granted": {
        const pending = take(this.#grants, message.id);
        // Nobody waits for it any more.
        if (!pending) return this.#connection.send({ t: "release", lease: message.lease });
        // At once: the loss of the lease may be the very next message.
        this.#listeners.set(message.lease, pending.listener);
        return pending.resolve(message);
      }
      case "denied": {
        const pending = take(this.#grants, message.id);
        return pending?.reject(denial(message, pending));
      }
      case "status":
        take(this.#statuses, message.id)?.resolve(message);
        return;
      case "leases":
        take(this.#listings, message.id)?.resolve(message);
        return;
      case "released":
        take(this.#releases, message.lease)?.resolve();
        return;
      case "lost":
        return this.#listeners.get(message.lease)?.lost(message.message, message.signal);
      case "worker-lost":
        return this.#listeners.get(message.lease)?.workerLost(message.worker, message.message);
      case "renewed":
        return this.#listeners.get(message.lease)?.renewed(message.expiresInMs);
      case "revoking":
        return this.#listeners.get(message.lease)?.revoking(message.deadlineInMs, message.message);
      case "log":
        return this.#listeners.get(message.lease)?.logged(message.line);
      case "progress":
        return this.#listeners.get(message.lease)?.progressed(message.report);
      case "usage": {
        const pending = take(this.#usages, message.id);
        if (message.usage) return pending?.resolve(message.usage);
        return pending?.reject(new LeaseLost("the lease is over; take a new lease"));
      }
      case "draining":
        this.draining = true;
    }
  }

  #end(error: RfaasError): void {
    if (this.#over) return;
    this.#over = error;
    this.#welcome.reject(error);
    this.packages.end(error);
    for (const { reject } of this.#grants.values()) reject(error);
    for (const { reject } of this.#statuses.values()) reject(error);
    for (const { reject } of this.#listings.values()) reject(error);
    for (const { reject } of this.#usages.values()) reject(error);
    for (const { resolve } of this.#releases.values()) resolve();
    this.#grants.clear();
    this.#statuses.clear();
    this.#listings.clear();
    this.#usages.clear();
    this.#releases.clear();
    for (const listener of this.#listeners.values()) listener.disconnected(error.message);
    this.#listeners.clear();
    this.#closed.resolve();
  }
}

function notReached(address: string, cause: Error): RfaasError {
  const { code } = cause as NodeJS.ErrnoException;
  if (code === "EAGAIN")
    return new NodeUnreachable(
      address,
      `the node at ${address} has no room for another connection (EAGAIN); see its log, and try again`,
      { cause },
    );
  const why = shortage(cause, "this program") ?? shortageOfDescriptors("this program");
  if (why !== undefined)
    return new EnvironmentError(`the node at ${address} cannot be reached: ${why}`, { cause });
  return new NodeUnreachable(
    address,
    `no node answers at ${address} (${reasonOf(cause)}); start one with: rfaas serve --listen ${address}`,
    { cause },
  );
}

/** The descriptors of a lease, which the node sent before the grant. Throws {@link LeaseRefused}, or `NativeError`. */
function received(mailbox: Mailbox, { nonce }: Granted, workers: number): number[] {
  const descriptors = mailbox.receive(nonce);
  if (descriptors?.length === 3 + workers) return descriptors;
  for (const fd of descriptors ?? []) closeDescriptor(fd);
  throw new LeaseRefused(
    "RFAAS_NO_SHARED_FABRIC",
    "the node granted the lease but its memory did not arrive; client and node must share a network namespace",
  );
}

const closed = () =>
  new LeaseRefused("RFAAS_CONNECTION_CLOSED", "the connection was closed; open another one");

function take<K, V>(map: Map<K, V>, key: K): V | undefined {
  const value = map.get(key);
  map.delete(key);
  return value;
}

function denial(
  message: NodeMessage & { t: "denied" },
  { module, name }: { module: string; name: string },
): RfaasError {
  if (message.code === "RFAAS_PACKAGE_UNKNOWN")
    return new PackageUnknown(module.slice(PACKAGE.length), message.message);
  if (message.code === "RFAAS_USAGE") return new UsageError(message.message);
  if (message.code === "RFAAS_NODE_LOST") return new LeaseLost(message.message);
  if (!message.code.startsWith("RFAAS_MODULE") && message.code !== "RFAAS_NO_FUNCTIONS")
    return new LeaseRefused(message.code, `the node refused the lease: ${message.message}`);
  const cause = message.error ? { cause: remoteCause(message.error) } : {};
  return new ModuleLoadError(message.code, name, withAuthorPaths(message.message), cause);
}

/** A node of a cluster as its client sees it: connected when it is first needed, and again when it is back after it was lost. */
import { type Clock, SYSTEM_CLOCK } from "../../base/clock.ts";
import { LeaseRefused, NodeUnreachable, type RfaasError } from "../../base/errors.ts";
import { isOfNode } from "./voucher.ts";
import type { NodeStatus } from "../node/status.ts";
import type { FabricName } from "../../fabric/registry.ts";
import type { NodeState } from "../../protocol/manager-messages.ts";
import type { PartLease } from "../lease/part.ts";
import type { Packages } from "../node/packages.ts";
import type { AllocateOptions } from "../options/allocate-options.ts";
import { GRANT_LIMIT_MS, Limit, takenWithin } from "../node/grant-limit.ts";

/** What is known of a node; what is not known is left out. */
export interface ClusterNodeInfo {
  name: string;
  /** A socket path or `HOST:PORT`; `"private"` for a node of the program's own. */
  address: string;
  /** `"expected"`: named, and not heard of yet. `"down"`: it does not answer. */
  state: NodeState;
  /** What would move the bytes of calls. */
  fabric?: FabricName;
  cores?: number;
  memoryBytes?: number;
  freeCores?: number;
  freeMemoryBytes?: number;
  leases?: number;
  /** Host processes that wait for a lease. */
  prewarmedHosts?: number;
  keptHosts?: number;
  /** Requests that wait for room. */
  waiting?: number;
  /** Since when the one waits that waits longest, in milliseconds since 1970, */
  waitingSinceMs?: number;
  /** and for how long. */
  longestWaitMs?: number;
}

/** Room that a request waits for at a node. */
export interface WantedRoom {
  workers: number;
  /** Fewer are of no use. */
  atLeast: number;
  coresPerWorker: number;
  /** Registered memory of a lease. */
  memoryBytes: number;
  /** The heap that it asks for. */
  heapBytes: number;
  waitMs: number;
  /** How long it has waited already, wherever, */
  waitedMs: number;
  /** and since when, by the machine's clock. */
  beganAtMs: number;
  /** How long it may hold what it is offered. */
  holdMs: number;
  /** It needs more than one offer at once. */
  isPart: boolean;
  /** The node offers so much, all together; again, when there is more. */
  offered(offer: RoomOffer): void;
  /** The node wants the offer back. */
  recalled(): void;
}

/** Room that a node has set aside. */
export interface RoomOffer {
  readonly number: number;
  readonly workers: number;
  /** Gives it back. */
  pass(): void;
}

/** A connection to a node, as a cluster uses it. */
export interface ConnectedNode {
  readonly cores: number;
  readonly packages: Packages;
  status(): Promise<NodeStatus>;
  /** A part that has not joined a lease; it takes the offer of this number. */
  take<Module>(
    module: string | URL,
    options: AllocateOptions,
    offer?: number,
  ): Promise<PartLease<Module>>;
  /** Whether the node lets clients wait in line; one of a former version does not. */
  readonly hasLine?: boolean;
  /** Resolves once all is offered; the signal ends the wait. */
  waitInLine?(wanted: WantedRoom, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Opens a connection to a node, unless the signal aborts. */
export type Connect = (address: string, signal: AbortSignal) => Promise<ConnectedNode>;

/** A node that does not say what it has free within this time is taken for dead, for now. */
const LOOK_LIMIT_MS = 2000;
/** Back-off before the next attempt at a node that does not answer or refuses this client; doubles each time. */
const MIN_RETRY_MS = 50;
const MAX_RETRY_MS = 5000;

/** Errors that another attempt, later or on another node, may cure. */
const PASSING = new Set(["RFAAS_NODE_FULL", "RFAAS_NODE_DRAINING", "RFAAS_NODE_FAILED"]);

class Unanswered extends NodeUnreachable {}

export class ClusterNode {
  readonly name: string;
  /** The manager's or the list's information about the node, and the node's own last report. */
  info: ClusterNodeInfo;
  /** Whether it has ever answered this client. */
  reached = false;
  /** Whether it lets clients wait in line; undefined until it is connected. */
  hasLine: boolean | undefined;
  /** Which connection an offer came over: its number counts there alone. */
  readonly #offeredBy = new WeakMap<RoomOffer, ConnectedNode>();
  readonly #connect: Connect;
  readonly #changed: (node: ClusterNode) => void;
  readonly #clock: Clock;
  #connection: Promise<ConnectedNode> | undefined;
  /** Connections to earlier addresses of the node; they may still carry leases. */
  readonly #former: Promise<ConnectedNode>[] = [];
  #problem: RfaasError | undefined;
  #failures = 0;
  #retryAtMs = 0;
  readonly #ended = new AbortController();

  constructor(
    info: ClusterNodeInfo,
    connect: Connect,
    changed: (node: ClusterNode) => void,
    clock: Clock = SYSTEM_CLOCK,
  ) {
    this.name = info.name;
    this.info = info;
    this.#clock = clock;
    this.#connect = connect;
    this.#changed = changed;
  }

  /** Why it cannot be used, as far as this client has seen. */
  get problem(): RfaasError | undefined {
    return this.#problem;
  }

  /** Whether it would refuse this client tomorrow as well: they share no fabric, the token is wrong. */
  get hopeless(): boolean {
    return this.#problem instanceof LeaseRefused;
  }

  /** Whether there is a connection to it, or was one that leases may be on. */
  get connected(): boolean {
    return this.#connection !== undefined || this.#former.length > 0;
  }

  /** Whether it may be asked for leases, or for what it has free. */
  get open(): boolean {
    if (this.#ended.signal.aborted || this.info.address === "") return false;
    if (this.#problem) return this.#clock.nowMs() >= this.#retryAtMs;
    return this.info.state === "up" || this.info.state === "expected";
  }

  /** Takes over newer information about the node; drops the connection when the node has moved or restarted. */
  learn(info: ClusterNodeInfo, startedAnew: boolean): void {
    if (info.address !== this.info.address || startedAnew) {
      if (this.#connection) this.#former.push(this.#connection);
      this.#drop();
      this.#problem = undefined;
      this.#failures = 0;
    }
    this.info = info;
  }

  /** Asks the node what it has free. Returns whether the node answered; then {@link info} is fresh. */
  async look(): Promise<boolean> {
    try {
      const { freeCores, freeMemoryBytes, leases, prewarmedHosts, keptHosts, cores, ...line } =
        await new Limit(LOOK_LIMIT_MS, this.#clock).bound(this.#status(), () =>
          this.#unanswered(LOOK_LIMIT_MS),
        );
      this.#works();
      const { waitingSinceMs: _, state, ...known } = this.info;
      this.info = {
        ...known,
        cores,
        freeCores,
        freeMemoryBytes,
        leases,
        prewarmedHosts,
        ...(keptHosts === undefined ? {} : { keptHosts }),
        waiting: line.waiting,
        longestWaitMs: line.longestWaitMs,
        ...(line.waiting > 0 && { waitingSinceMs: this.#clock.wallMs() - line.longestWaitMs }),
        state: state === "draining" ? state : "up",
      };
      return true;
    } catch (error) {
      this.#failed(error);
      return false;
    } finally {
      this.#changed(this);
    }
  }

  /**
   * Asks for a lease. An error that has to do with this node alone is a {@link LeaseRefused} or {@link NodeUnreachable}.
   *
   * @throws whatever `Invoker.allocate` throws
   */
  async allocate<Module>(
    module: string | URL,
    options: AllocateOptions & { loadTimeoutMs: number },
    offer?: RoomOffer,
  ): Promise<PartLease<Module>> {
    const limitMs = options.loadTimeoutMs + GRANT_LIMIT_MS;
    const late = () => this.#unanswered(limitMs);
    try {
      const lease = await takenWithin(limitMs, this.#clock, options, late, async (bounded) => {
        const node = await this.#invoker();
        const isOwn = offer && this.#offeredBy.get(offer) === node;
        const all = { ...options, ...bounded };
        return await node.take<Module>(module, all, isOwn ? offer.number : undefined);
      });
      this.#works();
      return lease;
    } catch (error) {
      this.#failed(error);
      this.#changed(this);
      throw error;
    }
  }

  /** Waits in the node's line until it has offered all that is wanted. Returns false at once where it has no line. */
  async waitInLine(wanted: WantedRoom, signal: AbortSignal): Promise<boolean> {
    try {
      const node = await this.#invoker();
      if (!node.hasLine || !node.waitInLine) return false;
      signal.throwIfAborted();
      const offered = (offer: RoomOffer): void => {
        this.#offeredBy.set(offer, node);
        this.#works();
        wanted.offered(offer);
      };
      await node.waitInLine({ ...wanted, offered }, signal);
      return true;
    } catch (error) {
      if (!signal.aborted) {
        this.#failed(error);
        this.#changed(this);
      }
      throw error;
    }
  }

  /** Lets a node that was draining be asked again: it may have resumed. */
  reconsider(): void {
    if (this.info.state === "draining" && this.#connection && !this.#problem)
      this.info = { ...this.info, state: "up" };
  }

  /** Its cache of packages. Throws {@link NodeUnreachable} or {@link LeaseRefused}. */
  async packages(): Promise<Packages> {
    try {
      return (await this.#invoker()).packages;
    } catch (error) {
      this.#failed(error);
      this.#changed(this);
      throw error;
    }
  }

  /** Ends the connection. Leases on it are to be released before. */
  async close(): Promise<void> {
    this.#ended.abort(new Error("the cluster was closed"));
    const connections = [...this.#former, ...(this.#connection ? [this.#connection] : [])];
    this.#drop();
    await Promise.all(
      connections.map(async (connection) => (await connection.catch(() => undefined))?.close()),
    );
  }

  async #status(): Promise<NodeStatus & { cores: number }> {
    const invoker = await this.#invoker();
    return { ...(await invoker.status()), cores: invoker.cores };
  }

  #invoker(): Promise<ConnectedNode> {
    if (this.#connection) return this.#connection;
    if (this.info.address === "") return Promise.reject(this.#nowhere());
    const connection = this.#connect(this.info.address, this.#ended.signal);
    connection.then(
      ({ hasLine = false }) => void (this.hasLine = hasLine),
      () => this.#drop(),
    );
    this.#connection = connection;
    return connection;
  }

  #works(): void {
    this.reached = true;
    this.#problem = undefined;
    this.#failures = 0;
  }

  #failed(error: unknown): void {
    if (error instanceof LeaseRefused) {
      if (error.code === "RFAAS_NODE_DRAINING") this.info = { ...this.info, state: "draining" };
      const { limit } = error;
      // It is of the user, and not of the node.
      if (PASSING.has(error.code) || limit?.passes || limit?.shared) return;
    } else if (isOfNode(error)) {
      const {
        freeCores: _,
        freeMemoryBytes: __,
        leases: ___,
        prewarmedHosts: ____,
        keptHosts: _____,
        waiting: ______,
        longestWaitMs: _______,
        waitingSinceMs: ________,
        ...rest
      } = this.info;
      this.info = { ...rest, state: "down" };
      // A node that is only slow keeps its connection.
      if (!(error instanceof Unanswered)) this.#drop();
    } else return;
    this.#problem = error;
    this.#retryAtMs =
      this.#clock.nowMs() + Math.min(MAX_RETRY_MS, MIN_RETRY_MS * 2 ** this.#failures++);
  }

  #drop(): void {
    this.#connection = undefined;
  }

  /** A manager that has started anew names nodes that it has not heard of yet, and what was planned before may still go to one. */
  #nowhere(): NodeUnreachable {
    return new NodeUnreachable(
      this.name,
      `the manager does not know yet where the node ${this.name} is; see that the node runs (rfaas ps --manager), and try again`,
    );
  }

  #unanswered(limitMs: number): Unanswered {
    return new Unanswered(
      this.info.address,
      `the node ${this.name} at ${this.info.address} did not answer within ${limitMs} ms; see its log`,
    );
  }
}

/** A connection to one node, from which leases of one part are taken. */
import { SYSTEM_CLOCK } from "../base/clock.ts";
import { LeaseRefused, NodeUnreachable, UsageError } from "../base/errors.ts";
import { LAYOUT } from "../../ffi/layout.ts";
import { notify } from "../base/notify.ts";
import { LinkedSignal } from "../base/waiting.ts";
import type { FabricName } from "../fabric/registry.ts";
import type { Invoker } from "./cluster/invoker.ts";
import { OneNode } from "./cluster/one-node.ts";
import type { ClusterNodeInfo, Connect, WantedRoom } from "./cluster/node.ts";
import { requireListener } from "./events/lease-event.ts";
import { allocateLease } from "./lease/allocation.ts";
import type { ClientFabrics } from "./lease/attach.ts";
import { Healing } from "./lease/healing.ts";
import { JoinedLease } from "./lease/joined-lease.ts";
import type { Lease } from "./lease/lease.ts";
import type { PartLease } from "./lease/part.ts";
import { releaseAll } from "./lease/release-all.ts";
import type { NodeConnection } from "./node/connection.ts";
import { NodePackages, type Packages } from "./node/packages.ts";
import type { EmbeddedNode } from "./node/private-node.ts";
import { GRANT_LIMIT_MS, takenWithin } from "./node/grant-limit.ts";
import { RoomWait } from "./node/room-wait.ts";
import type { NodeStatus } from "./node/status.ts";
import {
  AllocateOptions,
  DEFAULT_LOAD_TIMEOUT_MS,
  DEFAULT_WAIT_TIMEOUT_MS,
  WaitOptions,
} from "./options/allocate-options.ts";
import { PoolOptions } from "./options/pool-options.ts";
import type { Pool } from "./pool/pool.ts";
import { WorkerPool } from "./pool/worker-pool.ts";
import { readOptions } from "../options/read.ts";
import { MAX_DURATION_MS } from "../protocol/fields.ts";

export class NodeInvoker implements Invoker {
  readonly #connection: NodeConnection;
  readonly #embedded: EmbeddedNode | undefined;
  readonly #fabrics: ClientFabrics;
  readonly #leases = new Set<AsyncDisposable>();
  readonly #allocations = new Set<Promise<AsyncDisposable>>();
  readonly #onClosed: () => void;
  readonly #listeners = new Set<(nodes: readonly ClusterNodeInfo[]) => void>();
  readonly #ended = new AbortController();
  readonly #oneNode: OneNode;
  readonly #room: RoomWait;
  #status: NodeStatus | undefined;
  #packages: Packages | undefined;
  #closed: Promise<void> | undefined;

  /** `again` connects to the node once more, or starts a private one anew, when the connection has ended. */
  constructor(
    connection: NodeConnection,
    embedded: EmbeddedNode | undefined,
    fabrics: ClientFabrics,
    again: Connect,
    onClosed: () => void = () => {},
  ) {
    this.#oneNode = new OneNode(this, () => connection.over !== undefined, again);
    this.#onClosed = onClosed;
    this.#fabrics = fabrics;
    this.#connection = connection;
    this.#room = new RoomWait(connection.welcome);
    this.#embedded = embedded;
  }

  get address(): string {
    return this.#connection.address;
  }

  get cores(): number {
    return this.#connection.welcome.cores;
  }

  /** What would move the bytes of a lease's calls. Throws {@link LeaseRefused} when client and node share nothing. */
  get fabric(): FabricName {
    return this.#fabrics.choose(this.address, this.#connection.welcome.fabrics);
  }

  async status(options?: WaitOptions): Promise<NodeStatus> {
    const { signal } = readOptions("status", WaitOptions, options);
    const {
      freeCores,
      freeMemoryBytes,
      leases,
      prewarmedHosts,
      keptHosts = 0,
      line,
    } = await this.#connection.status(signal);
    const { waiting = 0, longestWaitMs = 0 } = line ?? {};
    const free = { freeCores, freeMemoryBytes };
    const status = { ...free, leases, prewarmedHosts, keptHosts, waiting, longestWaitMs };
    const isNews = !Bun.deepEquals(this.#status, status);
    this.#status = status;
    if (isNews) for (const listener of [...this.#listeners]) notify(listener, this.nodes());
    return { ...status };
  }

  nodes(): ClusterNodeInfo[] {
    const { address, cores } = this;
    const fabric = this.#sharedFabric;
    return [
      {
        name: address,
        address,
        state: "up",
        cores,
        ...(fabric === undefined ? {} : { fabric }),
        ...this.#status,
      },
    ];
  }

  on(event: "capacity", listener: (nodes: readonly ClusterNodeInfo[]) => void): () => void {
    requireListener(event, listener, ["capacity"]);
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async allocate<Module = unknown>(
    module: string | URL,
    options?: AllocateOptions,
  ): Promise<Lease<Module>> {
    const read = readOptions("allocate", AllocateOptions, options);
    const { wait = false, timeoutMs = DEFAULT_WAIT_TIMEOUT_MS } = read;
    const { loadTimeoutMs = DEFAULT_LOAD_TIMEOUT_MS } = read;
    const { address } = this;
    const limitMs = (wait ? timeoutMs : 0) + loadTimeoutMs + GRANT_LIMIT_MS;
    const late = () =>
      new NodeUnreachable(
        address,
        `the node at ${address} did not answer within ${limitMs} ms; see its log, and whether its network is there`,
      );
    const lease = await takenWithin(limitMs, SYSTEM_CLOCK, read, late, (bounded) =>
      this.take<Module>(module, { ...read, ...bounded }),
    );
    lease.join({ part: 0, firstWorker: 0, node: address, address });
    if (read.onLoss !== "replace") return lease;
    const healing = new Healing(this.#oneNode.replacing<Module>(module, { ...read }));
    const healed = new JoinedLease([lease], healing);
    this.#leases.add(healed);
    healed.afterRelease(() => this.#leases.delete(healed));
    return healed;
  }

  /** A lease that has not been told yet of which lease it is a part. */
  async take<Module = unknown>(
    module: string | URL,
    options?: AllocateOptions,
    offer?: number,
  ): Promise<PartLease<Module>> {
    const read = readOptions("allocate", AllocateOptions, options);
    if (this.#closed) throw closedError();
    if ((read.workers ?? 1) > LAYOUT.maxWorkers)
      throw new UsageError(
        `workers must be at most ${LAYOUT.maxWorkers} on one node; they are ${read.workers}; ask for fewer, or a cluster`,
        { path: "workers" },
      );
    using stop = new LinkedSignal(read.signal, this.#ended.signal);
    const { signal } = stop;
    const allocation = this.#room.inTime(read, signal, (waitMs) =>
      allocateLease<Module>(module, read, {
        connection: this.#connection,
        fabrics: this.#fabrics,
        fabric: this.fabric,
        ...{ signal, waitMs, offer },
      }),
    );
    this.#allocations.add(allocation);
    try {
      const lease = await allocation;
      this.#leases.add(lease);
      lease.afterRelease(() => {
        this.#leases.delete(lease);
        this.#room.released();
      });
      lease.on("lost", () => this.#room.released());
      return lease;
    } finally {
      this.#allocations.delete(allocation);
    }
  }

  async pool<Module = unknown>(module: string | URL, options?: PoolOptions): Promise<Pool<Module>> {
    const read = readOptions("pool", PoolOptions, options);
    const pool = await WorkerPool.open((each) => this.allocate(module, each), read);
    // The module's type says what its functions take and return.
    return pool as unknown as Pool<Module>;
  }

  get hasLine(): boolean {
    return this.#connection.hasLine;
  }

  /** Waits in the node's line until it has offered all that is wanted. */
  async waitInLine(wanted: WantedRoom, signal: AbortSignal): Promise<void> {
    const connection = this.#connection;
    const { recalled, offered, atLeast, isPart, memoryBytes, heapBytes, ...rest } = wanted;
    await connection.waitInLine(
      {
        ...rest,
        ...(atLeast > 1 ? { atLeast } : {}),
        ...(isPart ? { isPart } : {}),
        memoryBytes: this.#fabrics.memoryFor(this.fabric, memoryBytes) + heapBytes,
        waitMs: Math.min(wanted.waitMs, MAX_DURATION_MS),
      },
      {
        recalled,
        offered: ({ offer, workers }) =>
          offered({ number: offer, workers, pass: () => connection.pass(offer) }),
      },
      signal,
    );
  }

  get packages(): Packages {
    return (this.#packages ??= new NodePackages(this.#connection));
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  get #sharedFabric(): FabricName | undefined {
    try {
      return this.fabric;
    } catch (error) {
      if (error instanceof LeaseRefused) return undefined;
      throw error;
    }
  }

  async #close(): Promise<void> {
    this.#ended.abort(closedError());
    await Promise.allSettled(this.#allocations);
    try {
      await releaseAll(this.#leases);
    } finally {
      await this.#oneNode.close(closedError());
      await this.#connection.close(closedError());
      this.#onClosed();
      await this.#embedded?.ended();
      this.#listeners.clear();
    }
  }
}

const closedError = () =>
  new LeaseRefused("RFAAS_INVOKER_CLOSED", "the invoker was closed; open another one");

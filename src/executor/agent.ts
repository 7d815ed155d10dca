/**
 * The agent: the node's supervising process, the only authority over its cores and memory. It grants leases to clients,
 * pairs each with a host, and takes everything back however a lease ends. User code never runs here.
 */
import { LAYOUT, type Polling } from "../../ffi/layout.ts";
import { NativeError } from "../../ffi/errors.ts";
import { Connection } from "../connection.ts";
import { machineId } from "../fabric/machine.ts";
import { type FabricOffer, chooseFabric } from "../fabric/offer.ts";
import { Capacity, type Share } from "../lease/capacity.ts";
import {
  type Allocate,
  type ClientMessage,
  type ErrorRecord,
  type NodeMessage,
  PROTOCOL_VERSION,
  clientVocabulary,
} from "../protocol/messages.ts";
import { VERSION } from "../version.ts";
import { HostPool } from "./host-pool.ts";
import type { HostProcess } from "./host-process.ts";
import { type LeaseEvents, LeasedHost, type ListenChoice } from "./leased-host.ts";

export interface AgentOptions {
  /** CPUs to lease; -1 stands for a core that workers are not pinned to. */
  cpus: readonly number[];
  memoryBytes: number;
  /** For leases that do not say how to wait. */
  polling: Polling;
  /** Hosts kept waiting. */
  prewarm: number;
  fabrics: FabricOffer;
  log(level: "info" | "warn", message: string): void;
}

/** Spin budgets when a lease names none: a little more than one wake-up, after which a waiting client blocks too. */
const DEFAULT_SPIN_NS: Record<Polling, number> = { hot: 0, warm: 50_000, adaptive: 50_000 };
/** Threads that each waiting host has ready; a lease of more workers starts the rest. */
const MAX_PREWARMED_WORKERS = 4;

type ClientConnection = Connection<ClientMessage, NodeMessage>;

interface Client {
  connection: ClientConnection;
  greeted: boolean;
  /** Those that it can use, of ours. */
  fabrics: string[];
  /** Our address that it connected to, if it came over TCP. */
  reachedAt: string | undefined;
  leases: Map<number, LeasedHost>;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #capacity: Capacity;
  readonly #pool: HostPool;
  readonly #clients = new Set<Client>();
  readonly #leases = new Map<number, { lease: LeasedHost; client: Client }>();
  #nextLease = 1;
  #draining = false;
  #onIdle: (() => void) | undefined;

  constructor(options: AgentOptions) {
    this.#options = options;
    this.#capacity = new Capacity(options.cpus, options.memoryBytes);
    this.#pool = new HostPool(
      options.prewarm,
      Math.min(options.cpus.length, MAX_PREWARMED_WORKERS),
      options.fabrics.verbs !== undefined,
    );
  }

  /** A connection for one client; its handler goes to the socket. */
  newClient(onClosed: () => void = () => {}, reachedAt?: string): ClientConnection {
    const connection: ClientConnection = new Connection(clientVocabulary, {
      message: (message) => this.#heard(client, message),
      closed: (error) => {
        if (error) {
          connection.send({ t: "refused", code: "RFAAS_PROTOCOL", message: error.message });
          this.#options.log("warn", `a client was disconnected: ${error.message}`);
        }
        this.#clients.delete(client);
        for (const lease of client.leases.values()) lease.end({ kind: "client-gone" });
        onClosed();
      },
    });
    const client: Client = {
      connection,
      greeted: false,
      fabrics: [],
      reachedAt,
      leases: new Map(),
    };
    this.#clients.add(client);
    return connection;
  }

  /** Grants no more leases, lets the present ones end for at most `limitMs`, then ends them. Resolves when all hosts are gone. */
  async drain(limitMs: number): Promise<void> {
    this.#draining = true;
    for (const { connection } of this.#clients) connection.send({ t: "draining" });
    if (this.#leases.size > 0) {
      const idle = new Promise<void>((resolve) => (this.#onIdle = resolve));
      const limit = setTimeout(() => this.stop(), limitMs);
      await idle;
      clearTimeout(limit);
    }
    await this.#pool.close();
  }

  /** Ends all leases now. */
  stop(): void {
    for (const { lease } of this.#leases.values()) lease.end({ kind: "node-stopped" });
  }

  get leaseCount(): number {
    return this.#leases.size;
  }

  #heard(client: Client, message: ClientMessage): void {
    if (!client.greeted && message.t !== "hello")
      return this.#refuse(client, "RFAAS_PROTOCOL", "the first message must be a hello");
    switch (message.t) {
      case "hello": {
        if (message.protocol !== PROTOCOL_VERSION) {
          const advice =
            message.protocol < PROTOCOL_VERSION ? "update the client" : "update the node";
          return this.#refuse(
            client,
            "RFAAS_PROTOCOL",
            `the node speaks protocol ${PROTOCOL_VERSION} (rfaas ${VERSION}), the client ${message.protocol} (rfaas ${message.version}); ${advice}`,
          );
        }
        client.fabrics = this.#sharedFabrics(message.fabrics, message.machine === machineId());
        if (client.fabrics.length === 0)
          return this.#refuse(client, "RFAAS_NO_SHARED_FABRIC", this.#explainNoFabric(message));
        client.greeted = true;
        return client.connection.send({
          t: "welcome",
          protocol: PROTOCOL_VERSION,
          version: VERSION,
          pid: process.pid,
          cores: this.#capacity.totalCores,
          memoryBytes: this.#capacity.totalMemoryBytes,
          fabrics: client.fabrics,
        });
      }
      case "allocate":
        return void this.#allocate(client, message);
      case "release": {
        const lease = client.leases.get(message.lease);
        if (!lease) return client.connection.send({ t: "released", lease: message.lease });
        return lease.end({ kind: "released" });
      }
      case "cancel":
        return client.leases
          .get(message.lease)
          ?.cancel(message.worker, message.slot, message.sequence);
      case "ask-status":
        return client.connection.send({
          t: "status",
          id: message.id,
          freeCores: this.#capacity.freeCores,
          freeMemoryBytes: this.#capacity.freeMemoryBytes,
          leases: this.#leases.size,
          prewarmedHosts: this.#pool.readyCount,
        });
    }
  }

  #sharedFabrics(theirs: readonly string[], sameMachine: boolean): string[] {
    const { shm, verbs } = this.#options.fabrics;
    const ours = [...(shm && sameMachine ? ["shm"] : []), ...(verbs ? ["verbs"] : [])];
    return ours.filter((fabric) => theirs.includes(fabric));
  }

  #explainNoFabric({ fabrics, machine }: { fabrics: string[]; machine: string }): string {
    const { shm, verbs } = this.#options.fabrics;
    if (machine === machineId())
      return `the node serves ${shm ? "shm" : "verbs"} and the client wants ${fabrics.join(" or ")}; start the node with --fabric, or use another fabric`;
    return verbs
      ? "the client is on another machine and has no RDMA device; see: rfaas doctor"
      : "the client is on another machine and the node has no RDMA device; see rfaas doctor there, and serve with --fabric verbs";
  }

  #refuse(client: Client, code: string, message: string): void {
    client.connection.send({ t: "refused", code, message });
    client.connection.close();
  }

  async #allocate(client: Client, request: Allocate): Promise<void> {
    const started = Bun.nanoseconds();
    const deny = (code: string, message: string, error?: ErrorRecord) =>
      client.connection.send({
        t: "denied",
        id: request.id,
        code,
        message,
        ...(error ? { error } : {}),
      });

    if (this.#draining)
      return deny(
        "RFAAS_NODE_DRAINING",
        "the node is draining and grants no leases; use another node",
      );
    const { workers, slots } = request;
    if (workers > LAYOUT.maxWorkers)
      return deny(
        "RFAAS_NODE_FULL",
        `a lease has at most ${LAYOUT.maxWorkers} workers; take several leases`,
      );
    if (slots > LAYOUT.maxSlots || (slots & (slots - 1)) !== 0)
      return deny(
        "RFAAS_USAGE",
        `slots must be a power of two up to ${LAYOUT.maxSlots}; it is ${slots}`,
      );
    if (!chooseFabric(client.fabrics, request.fabric))
      return deny(
        "RFAAS_NO_SHARED_FABRIC",
        `the node does not serve ${request.fabric} to this client`,
      );
    if (request.fabric === "shm" && !request.mailbox)
      return deny("RFAAS_PROTOCOL", "a lease over shared memory needs a mailbox");
    const share = this.#capacity.take(workers, request.memoryBytes);
    if (typeof share === "string") return deny("RFAAS_NODE_FULL", share);

    let taken: { host: HostProcess; prewarmed: boolean } | undefined;
    let lease: LeasedHost;
    try {
      taken = await this.#pool.take();
      lease = this.#newLease(client, request, share, taken, started);
    } catch (error) {
      taken?.host.kill();
      this.#capacity.give(share);
      return deny("RFAAS_NODE_FAILED", explainAllocationFailure(error));
    }
    client.leases.set(lease.id, lease);
    this.#leases.set(lease.id, { lease, client });
    // The client may have gone while a host was started.
    if (!this.#clients.has(client)) return lease.end({ kind: "client-gone" });
    try {
      lease.attach();
    } catch (error) {
      deny("RFAAS_NODE_FAILED", explainAllocationFailure(error));
      lease.end({ kind: "load-failed" });
    }
  }

  /** The device that the client's own way leads to comes first. */
  #listenFor({ reachedAt }: Client): ListenChoice {
    const { addresses, inlineMax } = this.#options.fabrics.verbs!;
    const address = addresses.find((address) => address === reachedAt) ?? addresses[0]!;
    return { address, inlineMax: inlineMax ?? null };
  }

  #newLease(
    client: Client,
    request: Allocate,
    share: Share,
    { host, prewarmed }: { host: HostProcess; prewarmed: boolean },
    started: number,
  ): LeasedHost {
    const hostReady = Bun.nanoseconds();
    const { connection } = client;
    const polling = request.polling ?? this.#options.polling;
    const events: LeaseEvents = {
      granted: (lease, nonce, { exports, loadNs }) => {
        this.#options.log(
          "info",
          `lease ${lease.id} granted: ${request.workers} workers for ${request.module}`,
        );
        connection.send({
          t: "granted",
          id: request.id,
          lease: lease.id,
          nonce,
          hostPid: lease.host.pid,
          exports,
          cpus: [...lease.cpus],
          slots: request.slots,
          polling,
          spinNs: lease.shape.spinNs,
          listening: lease.listeningAt,
          prewarmed,
          grantNs: Bun.nanoseconds() - started,
          spawnNs: hostReady - started,
          loadNs,
        });
      },
      denied: (_, code, message, error) =>
        connection.send({
          t: "denied",
          id: request.id,
          code,
          message,
          ...(error ? { error } : {}),
        }),
      lost: (lease, message) => {
        this.#options.log("warn", `lease ${lease.id} lost: ${message}`);
        connection.send({ t: "lost", lease: lease.id, message });
      },
      workerLost: (lease, worker, message) => {
        this.#options.log("warn", `lease ${lease.id}, worker ${worker}: ${message}`);
        connection.send({ t: "worker-lost", lease: lease.id, worker, message });
      },
      finished: (lease) => {
        this.#capacity.give(share);
        client.leases.delete(lease.id);
        this.#leases.delete(lease.id);
        this.#options.log("info", `lease ${lease.id} ended`);
        connection.send({ t: "released", lease: lease.id });
        if (this.#leases.size === 0) this.#onIdle?.();
      },
    };
    return new LeasedHost(
      this.#nextLease++,
      request,
      share,
      {
        workers: request.workers,
        slots: request.slots,
        arenaBytes: request.memoryBytes,
        polling,
        spinNs: request.spinNs ?? DEFAULT_SPIN_NS[polling],
      },
      request.fabric === "verbs" ? this.#listenFor(client) : undefined,
      host,
      events,
    );
  }
}

function explainAllocationFailure(error: unknown): string {
  if (error instanceof NativeError && (error.code === "ENOMEM" || error.code === "ENOSPC"))
    return `the node has no memory left for the lease (${error.code}); ask for less memory or free some on the machine`;
  if (error instanceof NativeError && error.code === "EMFILE")
    return "the node has no file descriptors left; raise its limit with ulimit -n";
  return `the node could not start a host: ${(error as Error).message}; see the node's log`;
}

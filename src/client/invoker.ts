/** The entry point of the library: a connection to a node, from which leases are taken. */
import { LAYOUT, MAX_ARENA_BYTES, POLLING, type Polling } from "../../ffi/layout.ts";
import { parseAddress } from "../address.ts";
import { NodeUnreachable, PackageUnknown, UsageError } from "../errors.ts";
import type { VerbsOptions } from "../fabric/offer.ts";
import type { PackageOptions } from "../package/builder.ts";
import { type FabricName, MAX_LEASE_CORES } from "../protocol/messages.ts";
import { Usage } from "../protocol/usage.ts";
import { parseBytes } from "../units.ts";
import { ClientFabrics } from "./attach.ts";
import { type EmbeddedNode, startEmbeddedNode } from "./embedded-node.ts";
import { Lease } from "./lease.ts";
import type { LeaseEventOf } from "./lease-term.ts";
import { type ModuleSource, findModule } from "./modules.ts";
import {
  type AllocateRequest,
  type GrantedLease,
  type LeaseListener,
  NodeConnection,
} from "./node-connection.ts";
import { NodePackages } from "./node-packages.ts";
import type { UploadProgress } from "./package-upload.ts";
import type { Cluster } from "./cluster.ts";
import {
  type ClusterOptions,
  chooseNode,
  namesCluster,
  openCluster,
  tokenOf,
} from "./open-cluster.ts";

export interface InvokerOptions {
  /** A node's socket path or `HOST:PORT`. Default: `$RFAAS_NODE`, else a private node on this machine. */
  node?: string;
  /** Private node: cores to lease. Default: what the affinity mask and the cgroup of this process leave. */
  cores?: number;
  /** Private node: memory to lease, such as `"2GiB"`. Default: half of what machine and cgroup leave. */
  memory?: string | number;
  /** Private node: host processes kept ready. Default 1. */
  prewarm?: number;
  /** What moves the bytes of calls. Default: `"shm"` on the node's machine, else `"verbs"`. */
  fabric?: FabricName;
  /** A token of the node's manager or owner, where one is asked for. Default: `$RFAAS_TOKEN`. */
  token?: string;
  /** Which RDMA device, port and GID to use on this side, and how much travels inline. Default: found out. */
  verbs?: VerbsOptions;
}

export interface AllocateOptions extends PackageOptions {
  /** Worker threads. Default 1. */
  workers?: number;
  /**
   * Cores of each worker, which the node sets aside and bills: threads and processes that its functions start run on them, and
   * `ctx.cores`, `navigator.hardwareConcurrency`, `nproc`, OpenMP and BLAS see so many. Default 1, at most 1024.
   */
  coresPerWorker?: number;
  /** Registered memory, such as `"512MiB"`; at most 4 GiB less 64 bytes. Default 64 MiB. */
  memory?: string | number;
  /**
   * How workers wait: `"hot"` spins (fastest, a full core), `"warm"` sleeps (no CPU, a wake-up per call), `"adaptive"` spins
   * through gaps that are short. Default: the node's.
   */
  polling?: Polling;
  /** Calls in flight per worker: a power of two up to 1024. Default 64. */
  slots?: number;
  /** Warm: how long a synchronous caller spins before it blocks. Adaptive: both sides. Default 50 us, about one wake-up. */
  spinNs?: number;
  /** How long the module may take to load. Default 10 s. */
  loadTimeoutMs?: number;
  /**
   * How long the lease lasts without a sign of life. It is renewed in the background, and by every call: this must be longer than
   * the program computes without a call or a turn of its event loop. Default 2 minutes, at most a day.
   */
  ttlMs?: number;
  /** Ends the lease when one of these is reached, such as `{ allocationCoreNs: 3600e9 }` for one core-hour. */
  budget?: Partial<Usage>;
  /** Called while a package is sent, to each of several nodes; not at all when the node has it. */
  onProgress?: (progress: UploadProgress) => void;
  /** Hears what functions write with `ctx.log`, from the module's `init` on. */
  onLog?: (line: LeaseEventOf<"log">) => void;
}

const DEFAULT_MEMORY_BYTES = 64 * 1024 * 1024;
const DEFAULT_SLOTS = 64;
const DEFAULT_LOAD_TIMEOUT_MS = 10_000;
const DEFAULT_TTL_MS = 120_000;
const MIN_TTL_MS = 100;
const MAX_TTL_MS = 86_400_000;
/** For one lease: a full cache may evict what was just sent. */
const MAX_UPLOADS = 3;

/** What a node says of itself now. */
export interface NodeStatus {
  freeCores: number;
  freeMemoryBytes: number;
  leases: number;
  prewarmedHosts: number;
}

/** A connection to a node. Close it (or `await using`) to give back everything leased over it. */
export class Invoker implements AsyncDisposable {
  readonly #connection: NodeConnection;
  readonly #embedded: EmbeddedNode | undefined;
  readonly #fabrics: ClientFabrics;
  readonly #leases = new Set<AsyncDisposable>();
  #packages: NodePackages | undefined;
  #closed: Promise<void> | undefined;

  /** @internal */
  constructor(
    connection: NodeConnection,
    embedded: EmbeddedNode | undefined,
    fabrics: ClientFabrics,
  ) {
    this.#fabrics = fabrics;
    this.#connection = connection;
    this.#embedded = embedded;
  }

  /** Where the node is; `"private"` for one of our own. */
  get node(): string {
    return this.#connection.address;
  }

  /** How many cores the node leases. */
  get cores(): number {
    return this.#connection.welcome.cores;
  }

  /** What would move the bytes of a lease's calls. Throws {@link LeaseRefused} when client and node share nothing. */
  get fabric(): FabricName {
    return this.#fabrics.choose(this.node, this.#connection.welcome.fabrics);
  }

  async status(): Promise<NodeStatus> {
    const { freeCores, freeMemoryBytes, leases, prewarmedHosts } = await this.#connection.status();
    return { freeCores, freeMemoryBytes, leases, prewarmedHosts };
  }

  /**
   * Leases workers that have loaded `module`: a path (relative to the current directory) or a `file:` URL, such as
   * `new URL("./fn.ts", import.meta.url)`. The module is bundled with its imports and sent to the node, if it has not got it. A
   * package file (`fn.rfaas`), or `package:HASH` of one that the node has, does too. Give the module's type to have function
   * names checked.
   *
   * @example
   * ```ts
   * await using lease = await rf.allocate<typeof import("./blackscholes.ts")>("./blackscholes.ts", { workers: 2 });
   * ```
   * @throws {ModuleLoadError} the module cannot be found, parsed or evaluated
   * @throws {PackageInvalid} a file cannot be in a package
   * @throws {PackageTooLarge} the node does not take so large a package
   * @throws {PackageUnknown} the node does not have the package that is named by its hash
   * @throws {LeaseRefused} the node is full or draining, or shares no fabric with this client
   * @throws {ConnectionFailed} the RDMA connection cannot be set up
   * @throws {UsageError} an option is out of range
   */
  async allocate<Module = unknown>(
    module: string | URL,
    options: AllocateOptions = {},
  ): Promise<Lease<Module>> {
    const {
      workers = 1,
      coresPerWorker = 1,
      slots = DEFAULT_SLOTS,
      polling,
      spinNs,
      loadTimeoutMs = DEFAULT_LOAD_TIMEOUT_MS,
      ttlMs = DEFAULT_TTL_MS,
      budget = {},
    } = options;
    requireWhole("ttlMs", ttlMs, MIN_TTL_MS, MAX_TTL_MS);
    requireBudget(budget);
    const memoryBytes =
      options.memory === undefined ? DEFAULT_MEMORY_BYTES : parseBytes(options.memory, "memory");
    requireWhole("workers", workers, 1, LAYOUT.maxWorkers);
    requireWhole("coresPerWorker", coresPerWorker, 1, MAX_LEASE_CORES);
    requireWhole("loadTimeoutMs", loadTimeoutMs, 1, 2 ** 31 - 1);
    if (spinNs !== undefined) requireWhole("spinNs", spinNs, 0, 1_000_000_000);
    requireWhole("slots", slots, 1, LAYOUT.maxSlots);
    if ((slots & (slots - 1)) !== 0)
      throw new UsageError(`slots must be a power of two; it is ${slots}`);
    if (memoryBytes > MAX_ARENA_BYTES)
      throw new UsageError(
        "a lease has at most 4 GiB less 64 bytes of memory; take several leases",
      );
    if (polling !== undefined && !Object.hasOwn(POLLING, polling))
      throw new UsageError(
        `polling must be hot, warm or adaptive; it is ${JSON.stringify(polling)}`,
      );

    const source = await findModule(module, options);
    let lease: Lease<Module> | undefined;
    // The lease may be lost before it is opened here.
    const early: ((opened: Lease<Module>) => void)[] = [];
    const tell = (note: (opened: Lease<Module>) => void) =>
      void (lease ? note(lease) : early.push(note));
    const { fabric } = this;
    const request = {
      module: source.module,
      ...(source.origin === undefined ? {} : { origin: source.origin }),
      workers,
      coresPerWorker,
      memoryBytes: this.#fabrics.memoryFor(fabric, memoryBytes),
      slots,
      polling: polling ?? null,
      spinNs: spinNs ?? null,
      loadTimeoutMs,
      ttlMs,
      budget,
      fabric,
    };
    const listener: LeaseListener = {
      lost: (message, signal) => tell((opened) => opened.lose(message, signal)),
      workerLost: (worker, message) => tell((opened) => opened.loseWorker(worker, message)),
      renewed: (expiresInMs) => tell((opened) => opened.term.renewed(expiresInMs)),
      revoking: (inMs, message) => tell((opened) => opened.term.revoking(inMs, message)),
      logged: (line) => tell((opened) => opened.term.logged(line)),
      progressed: (report) => lease?.progressed(report),
    };
    const grant = await this.#ask(request, source, listener, options.onProgress);
    try {
      const attachment = await this.#fabrics.attach(request, grant);
      lease = await Lease.open<Module>(
        this.#connection,
        source.name,
        grant.granted,
        ttlMs,
        fabric,
        attachment,
        (released) => this.#leases.delete(released),
      );
    } catch (error) {
      await this.#connection.release(grant.granted.lease);
      throw error;
    }
    if (options.onLog) lease.on("log", options.onLog);
    for (const note of early) note(lease);
    this.#leases.add(lease);
    return lease;
  }

  /** The node's cache of packages. */
  get packages(): NodePackages {
    return (this.#packages ??= new NodePackages(this.#connection));
  }

  /** Asks for the lease first: a node that has the package needs no more than that. */
  async #ask(
    request: AllocateRequest,
    source: ModuleSource,
    listener: LeaseListener,
    onProgress: AllocateOptions["onProgress"],
  ): Promise<GrantedLease> {
    for (let uploads = 0; ; uploads++) {
      try {
        return await this.#connection.allocate(request, source.name, listener);
      } catch (error) {
        if (!(error instanceof PackageUnknown) || !source.package || uploads === MAX_UPLOADS)
          throw error;
        await this.#connection.packages.send(source.package, onProgress);
      }
    }
  }

  /** Releases every lease, then ends the connection and, if it is private, the node. */
  close(): Promise<void> {
    return (this.#closed ??= this.#close());
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    await Promise.all([...this.#leases].map((lease) => lease[Symbol.asyncDispose]()));
    if (this.#embedded) await this.#embedded.close();
    else await this.#connection.close();
  }
}

/**
 * Several nodes: those that a manager knows, or those of a list.
 *
 * @example
 * ```ts
 * await using rf = await invoker({ manager: "10.0.0.1:7800" });
 * await using group = await rf.allocate("./fn.ts", { workers: 40 });
 * ```
 * @throws {NodeUnreachable} the manager does not answer
 * @throws {UsageError} the list of nodes is wrong
 */
export function invoker(options: ClusterOptions): Promise<Cluster>;
/**
 * Connects to a node; where none is named, to one that the manager `$RFAAS_MANAGER` knows; without that, to a private one that it
 * starts on this machine.
 *
 * @example
 * ```ts
 * await using rf = await invoker();
 * await using lease = await rf.allocate("./fn.ts");
 * ```
 * @throws {NodeUnreachable} no node answers, or the private one does not start
 * @throws {FabricUnavailable} verbs are asked for and this machine has none
 */
export function invoker(options?: InvokerOptions): Promise<Invoker>;
export async function invoker(
  options: InvokerOptions | ClusterOptions = {},
): Promise<Invoker | Cluster> {
  if (namesCluster(options)) {
    const { manager: _, nodes: __, ...each } = options;
    return await openCluster(options, {
      connect: (node) => invoker({ ...each, node }),
      defaultMemoryBytes: DEFAULT_MEMORY_BYTES,
    });
  }
  const manager = process.env["RFAAS_MANAGER"];
  const named =
    options.node ??
    (process.env["RFAAS_NODE"] ||
      (manager ? await chooseNode(manager, tokenOf(options)) : undefined));
  const { fabric, verbs = {} } = options;
  if (fabric !== undefined && fabric !== "shm" && fabric !== "verbs")
    throw new UsageError(`fabric must be shm or verbs; it is ${JSON.stringify(fabric)}`);
  if (verbs.inlineMax !== undefined) requireWhole("inlineMax", verbs.inlineMax, 0, 4096);
  if (named) {
    const address = parseAddress(named);
    const fabrics = new ClientFabrics(fabric, verbs, address.kind === "tcp");
    const token = options.token ?? (process.env["RFAAS_TOKEN"] || null);
    const connection = await NodeConnection.connect(address, fabrics.names, token);
    return new Invoker(connection, undefined, fabrics);
  }
  if (options.cores !== undefined) requireWhole("cores", options.cores, 1, 1024);
  if (options.prewarm !== undefined) requireWhole("prewarm", options.prewarm, 0, 1024);
  if (process.platform !== "linux")
    throw new NodeUnreachable(
      "private",
      "rfaas runs on Linux only, so far; name a node on a Linux machine",
    );
  const fabrics = new ClientFabrics(fabric, verbs, false);
  const embedded = await startEmbeddedNode({
    fabric: fabrics.wanted ?? "shm",
    verbs,
    ...(options.cores === undefined ? {} : { cores: options.cores }),
    ...(options.memory === undefined ? {} : { memoryBytes: parseBytes(options.memory, "memory") }),
    ...(options.prewarm === undefined ? {} : { prewarm: options.prewarm }),
  });
  return new Invoker(embedded.connection, embedded, fabrics);
}

function requireBudget(budget: Partial<Usage>): void {
  const names = Object.keys(Usage.properties);
  for (const [name, bound] of Object.entries(budget))
    if (!names.includes(name) || !(bound >= 0))
      throw new UsageError(
        `a budget is a number for some of ${names.join(", ")}; "${name}" is ${bound}`,
      );
}

function requireWhole(what: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new UsageError(`${what} must be a whole number from ${min} to ${max}; it is ${value}`);
}

/**
 * The agent: the node's supervising process, the only authority over its cores and memory. It grants leases to clients,
 * pairs each with a host, and takes everything back however a lease ends. User code never runs here.
 */
import { adoptOrphans } from "../../../ffi/children.ts";
import type { Polling } from "../../../ffi/layout.ts";
import { type Clock, SYSTEM_CLOCK } from "../../base/clock.ts";
import { type Handlers, RequestRefused, answering } from "../../control/requests.ts";
import type { FabricOffer } from "../../fabric/fabric.ts";
import { type Survey, type Withheld, namesOf } from "../../fabric/registry.ts";
import { LeaseBook } from "../../lease/book.ts";
import { Capacity } from "../../lease/capacity.ts";
import type { Revoker } from "../../lease/lease.ts";
import {
  DEFAULT_GRACE_MS,
  type Revocation,
  describeReplacedKey,
  describeRevocation,
} from "../../protocol/tokens/revocation.ts";
import { type NodeMessage, greetedMessages } from "../../protocol/messages.ts";
import type { ClusterQuota } from "../admission/cluster-quota.ts";
import { fabricsFor } from "../admission/fabrics-for.ts";
import { type Arrived, type Identity, rightLeftMs, whyAnother } from "../admission/identity.ts";
import { readerOf } from "../output/bounded-log.ts";
import type { OutputReader } from "../output/line-cutter.ts";
import { PackageIntake } from "../packages/intake.ts";
import type { PackageStore } from "../packages/store.ts";
import type { Limiter } from "../limits/limiter.ts";
import { WatchLimiter } from "../limits/watch.ts";
import { Granting, type GrantingOptions, rightEndNs } from "./granting.ts";
import { HostPool } from "./host-pool.ts";
import type { RoomTerms } from "../sandbox/driver.ts";
import { none } from "../sandbox/none/driver.ts";
import { Sandbox } from "../sandbox/sandbox.ts";
import { HostProcess, type LeaseHost } from "./host-process.ts";
import { KeptHosts } from "./kept-hosts.ts";
import { type LeaseBill, LeaseTable, type LeaseTableEvents } from "./lease-table.ts";
import { type Client, type ClientConnection, type ClientWay, Reception } from "./reception.ts";

export interface AgentOptions extends Pick<GrantingOptions, "hostTimeoutMs"> {
  /** CPUs to lease; -1 stands for a core that workers are not pinned to. */
  cpus: readonly number[];
  memoryBytes: number;
  /** For leases that do not say how to wait. */
  polling: Polling;
  /** Hosts kept waiting. */
  prewarm: number;
  /** Hosts that are kept with their module, at most. Default: as many as there are cores. */
  keptHosts?: number | undefined;
  fabrics: readonly FabricOffer[];
  /** Why other fabrics are not among them. Default: not said. */
  withheld?: readonly Withheld[] | undefined;
  /** Clients must encrypt what they send over a network. Default: those that want to. */
  encrypt?: boolean | undefined;
  /** Where clients bring their data. Default: to the node's own port. */
  dataPort?: number | undefined;
  /** Clients come over a network: hosts that wait load what their leases need. */
  networked?: boolean | undefined;
  packages: PackageStore;
  /** Who a client is, by its token and how it came. */
  identify(token: string | null, by: Arrived): Promise<Identity | { refused: string }>;
  log(level: "info" | "warn", message: string): void;
  /** Where what functions print goes. Default: to the log, so much a second of each lease. */
  output?: OutputReader | undefined;
  /** How hosts are kept apart. Default: not at all. */
  sandbox?: Sandbox | undefined;
  /** The machine's, unless a test has its own. */
  clock?: Clock;
  /** What bounds hosts. Default: the agent looks at them. */
  limiter?: Limiter | undefined;
  /** Starts a host process, to wait or for a lease of so many workers, unless a test plays one. */
  startHost?(workers?: number, terms?: RoomTerms): LeaseHost;
}

/** What the agent reports to the node's bookkeeper. */
export interface AgentEvents {
  /** Free cores, free memory or the number of leases may have changed. */
  capacity(): void;
  /** What a lease has used so far; with `ended` for the last time. */
  usage(bill: LeaseBill): void;
}

/** Threads that each waiting host has ready; a lease of more workers starts the rest. */
const MAX_PREWARMED_WORKERS = 4;

export class Agent {
  readonly #capacity: Capacity;
  readonly #book: LeaseBook;
  readonly #clock: Clock;
  readonly #pool: HostPool<LeaseHost>;
  readonly #kept: KeptHosts;
  readonly #reception: Reception;
  readonly #packages: PackageIntake;
  readonly #leases: LeaseTable;
  readonly #granting: Granting;
  readonly #limiter: Limiter;
  readonly #sandbox: Sandbox;
  #events: AgentEvents | undefined;
  #stopping = false;
  #onIdle: (() => void) | undefined;
  readonly #survey: Survey;

  constructor(options: AgentOptions) {
    this.#survey = { offers: [...options.fabrics], withheld: [...(options.withheld ?? [])] };
    const { clock = SYSTEM_CLOCK, sandbox = new Sandbox({ driver: none, folders: [] }) } = options;
    this.#sandbox = sandbox;
    this.#limiter = options.limiter ?? new WatchLimiter();
    const startHost = options.startHost ?? hostProcesses(options, sandbox, this.#limiter);
    this.#clock = clock;
    this.#capacity = new Capacity(options.cpus, options.memoryBytes);
    this.#book = new LeaseBook(this.#capacity);
    this.#packages = new PackageIntake(options.packages, options.log, clock);
    this.#pool = new HostPool({
      size: options.prewarm,
      spawn: startHost,
      log: options.log,
      clock,
    });
    const { polling, fabrics, packages, log, keptHosts = options.cpus.length } = options;
    this.#kept = new KeptHosts({
      limit: keptHosts,
      roomBytes: () => this.#book.freeMemoryBytes,
      changed: () => this.#events?.capacity(),
      ...{ log, clock },
    });
    const tableEvents: LeaseTableEvents = {
      changed: () => {
        this.#granting.serve();
        this.#events?.capacity();
      },
      billed: (bill) => this.#events?.usage(bill),
      billsWanted: () => this.#events !== undefined,
      idle: () => this.#onIdle?.(),
    };
    this.#leases = new LeaseTable(this.#book, packages, tableEvents, clock);
    this.#granting = new Granting({
      ...{ book: this.#book, table: this.#leases, pool: this.#pool, kept: this.#kept },
      ...{ polling, fabrics, packages, log, clock, sandbox },
      mostHosts: options.cpus.length + keptHosts,
      ...{ encrypt: options.encrypt ?? false, hostTimeoutMs: options.hostTimeoutMs },
      ...{ dataPort: options.dataPort, output: options.output },
      onPackage: (client, hash) => this.#packages.used(client, hash),
      lineChanged: () => this.#events?.capacity(),
      isThere: (client) => this.#reception.has(client),
    });
    this.#granting.quota.onSpent((user, inMs) => {
      for (const client of this.#reception.clients())
        if (client.identity.user === user) this.#leases.revoke(client, inMs, "over-quota");
    });
    const heard = answering(greetedMessages, this.#handlers(), {
      // Answers are what a node says.
      send: (answer, client) => client.connection.send(answer as NodeMessage),
    });
    this.#reception = new Reception(
      {
        cores: this.#capacity.totalCores,
        memoryBytes: this.#capacity.totalMemoryBytes,
        fabrics,
        identify: options.identify,
        log,
        clock,
      },
      {
        message: (client, message) => heard(message, client),
        gone: (client) => {
          this.#packages.gone(client);
          this.#granting.withdraw(client);
          this.#leases.gone(client);
        },
      },
    );
  }

  /** From now on `events` hears of capacity and of bills. */
  watch(events: AgentEvents): void {
    this.#events = events;
  }

  get cores(): number {
    return this.#capacity.totalCores;
  }

  get free(): { cores: number; memoryBytes: number } {
    return { cores: this.#book.freeCores, memoryBytes: this.#book.freeMemoryBytes };
  }

  get draining(): boolean {
    return this.#book.draining;
  }

  /** Grants no more leases, waits at most `limitMs` for present ones to end, then ends them. Resolves when all hosts have exited. */
  async drain(limitMs: number): Promise<void> {
    this.#stopping = true;
    this.revoke(limitMs, "stopping");
    if (this.#book.size > 0) await new Promise<void>((resolve) => (this.#onIdle = resolve));
    this.#leases.rest();
    await Promise.all([this.#pool.close(), this.#kept.close()]);
    await Promise.all([this.#limiter.close(), this.#sandbox.finish()]);
  }

  /** Resolves when no client of a present lease has yet to connect its data. */
  attended(): Promise<void> {
    return this.#leases.attended();
  }

  /** Grants no more leases, and takes the present ones back when `limitMs` have passed, since `by` is so. */
  revoke(limitMs: number, by: Revoker): void {
    const now = this.#clock.nowNs();
    const due = this.#book.drain(now, now + limitMs * 1e6, by);
    this.#granting.serve();
    this.#kept.drain();
    this.#reception.tellAll({ t: "draining" });
    this.#leases.perform(due);
    this.#events?.capacity();
  }

  /** What users may hold, which a manager may count. */
  get quota(): ClusterQuota {
    return this.#granting.quota;
  }

  /** Takes leases back whose client has shown a token that counts no more, as `of` says, and grants that client no other. */
  revokeTokens(of: (identity: Identity) => Revocation | undefined): void {
    for (const client of this.#reception.clients()) {
      const entry = of(client.identity);
      if (entry) this.#revokeToken(client, describeRevocation(entry), entry.graceMs);
    }
    this.#granting.serve();
  }

  /** As {@link revokeTokens}, of clients whose token was signed by a key that counts no more, or not as long, as `untilMsOf` says: null for no end. */
  async useKeys(
    untilMsOf: (identity: Identity) => Promise<number | null | undefined>,
  ): Promise<void> {
    for (const client of this.#reception.clients()) {
      const { identity } = client;
      const untilMs = await untilMsOf(identity);
      // It may have shown another token meanwhile.
      if (client.identity !== identity) continue;
      if (untilMs === undefined)
        this.#revokeToken(client, describeReplacedKey(identity.user), DEFAULT_GRACE_MS);
      else if (untilMs !== null && (identity.untilMs === null || untilMs < identity.untilMs)) {
        client.identity = { ...identity, untilMs };
        this.#leases.extend(client, rightEndNs(client, this.#clock));
      }
    }
    this.#granting.serve();
  }

  #revokeToken(client: Client, why: string, graceMs: number): void {
    if (client.revoked) return;
    client.revoked = { why, graceMs };
    this.#leases.revoke(client, graceMs, "token-revoked");
  }

  /** Grants no more leases for a `reason`, or with null grants them again. Present leases go on. */
  refuse(reason: string | null): void {
    this.#granting.refuse(reason);
  }

  /** Grants leases again, unless it is stopping. */
  resume(): void {
    if (this.#stopping) return;
    this.#book.resume();
    this.#kept.resume();
    this.#events?.capacity();
  }

  /** Ends all leases now. */
  stop(): void {
    this.#leases.endAll({ kind: "node-stopped" });
  }

  /** Reloads the leases of the module built from the file `origin` with a cached package. Returns how many leases that are. */
  reload(origin: string, hash: string): Promise<number> {
    return this.#leases.reload(origin, hash);
  }

  get leaseCount(): number {
    return this.#book.size;
  }

  /** Hosts that wait for another lease of their module. */
  get keptHosts(): number {
    return this.#kept.size;
  }

  /** How many requests wait for room. */
  get waiting(): number {
    return this.#granting.lineState().waiting;
  }

  /** Since when the one waits that waits longest, in milliseconds since 1970; undefined when none waits. */
  get waitingSinceMs(): number | undefined {
    const { waiting, longestWaitMs } = this.#granting.lineState();
    return waiting === 0
      ? undefined
      : Math.max(0, Math.round(this.#clock.wallMs() - longestWaitMs));
  }

  /** A connection for one client; its handler goes to the socket. */
  newClient(onClosed: () => void = () => {}, way: ClientWay = {}): ClientConnection {
    return this.#reception.newClient(onClosed, way);
  }

  /**
   * Brings a connection of a client's data to the host of its lease, which its secret names, or the public name. The descriptor stays the caller's. Returns
   * whether the node has the lease.
   */
  bring(name: Uint8Array, descriptor: number, greeting: Uint8Array): boolean {
    return this.#leases.bring(name, descriptor, greeting);
  }

  /** Lets another token of the same holder count for the client's leases. Returns for how long; null without end. */
  async #renewToken(client: Client, token: string): Promise<number | null> {
    const identity = await client.identifyAgain(token);
    const refused =
      "refused" in identity
        ? identity.refused
        : client.revoked
          ? client.revoked.why
          : whyAnother(client.identity, identity);
    if ("refused" in identity || refused !== undefined)
      throw new RequestRefused("RFAAS_FORBIDDEN", refused!);
    client.identity = identity;
    this.#leases.extend(client, rightEndNs(client, this.#clock));
    const leftMs = rightLeftMs(identity);
    return leftMs === Infinity ? null : leftMs;
  }

  #handlers(): Handlers<typeof greetedMessages, Client> {
    const leases = this.#leases;
    return {
      ...this.#packages.handlers,
      allocate: (request, client, answer) => this.#granting.allocate(client, request, answer),
      "wait-in-line": (request, client, answer) =>
        this.#granting.waitInLine(client, request, answer),
      withdraw: ({ request }, client) => {
        this.#granting.withdraw(client, request);
        leases.withdraw(client, request);
      },
      release: async ({ lease }, client) => {
        await leases.release(client, lease);
        return {};
      },
      redeem: ({ lease }, client) => leases.redeem(client, lease),
      renew: ({ lease, ttlMs }, client) => leases.renew(client, lease, ttlMs),
      "get-usage": ({ lease }, client) => leases.usage(client, lease),
      "renew-token": async ({ token }, client) => ({
        expiresInMs: await this.#renewToken(client, token),
      }),
      abort: ({ lease, worker, slot, sequence, gently = false }, client) =>
        leases.of(client, lease)?.abort(worker, slot, sequence, gently),
      "get-status": ({ fabrics = false }, { machine }) => ({
        freeCores: this.#book.freeCores,
        freeMemoryBytes: this.#book.freeMemoryBytes,
        leases: this.#book.size,
        prewarmedHosts: this.#pool.readyCount,
        keptHosts: this.keptHosts,
        line: this.#granting.lineState(),
        ...(fabrics ? { fabrics: fabricsFor(this.#survey, machine) } : {}),
      }),
      "list-leases": (_, client) => ({
        ...leases.list(client),
        keptHosts: this.keptHosts,
        line: this.#granting.lineState(),
      }),
    };
  }
}

/** Starts host processes, and adopts the processes that their functions leave behind. */
function hostProcesses(
  { cpus, fabrics, networked = false, log, output }: AgentOptions,
  sandbox: Sandbox,
  limiter: Limiter,
): (workers?: number, terms?: RoomTerms) => LeaseHost {
  adoptOrphans();
  // Loading a fabric takes 5 ms, which a lease would wait for, and 2 MB, which a host of shared memory does without.
  const prepared = namesOf(
    fabrics.filter(({ fabric }) => fabric.prepare || (networked && !fabric.sharesMemory)),
  );
  // Its own errors: no function has run there.
  const reader = output ?? readerOf((text) => log("warn", `a host without a lease: ${text}`));
  return (workers, terms = sandbox.closed) => {
    const threads = Math.min(workers ?? cpus.length, MAX_PREWARMED_WORKERS);
    const waits = workers === undefined;
    const own = { threads, waits, fabrics: prepared };
    return HostProcess.spawn({ ...own, sandbox, terms, limiter, reader });
  };
}

/** From a request for a lease to its host: who may have one, the share of the node, the module, a process. */
import type { Polling } from "../../../ffi/layout.ts";
import type { RegionShape } from "../../../ffi/region.ts";
import type { Clock } from "../../base/clock.ts";
import { shortage } from "../../base/shortage.ts";
import { reasonOf } from "../../base/system-errors.ts";
import { type Answer, RequestRefused } from "../../control/requests.ts";
import type { FabricOffer, ListenOrder } from "../../fabric/fabric.ts";
import type { LeaseBook } from "../../lease/book.ts";
import type { Share } from "../../lease/capacity.ts";
import type { EndReason, LeaseEffect } from "../../lease/lease.ts";
import type { Use } from "../../lease/shares.ts";
import { packageNamed } from "../../package/contents/manifest.ts";
import type { MessageOf } from "../../protocol/declare.ts";
import type { Allocate, WaitInLine } from "../../protocol/lease-messages.ts";
import type { LineState } from "../../protocol/messages.ts";
import { type HostUser, HostUsers } from "../admission/host-users.ts";
import { rightLeftMs } from "../admission/identity.ts";
import { heldBy, leasedBytes, refusalOf } from "../admission/lease-request.ts";
import { ClusterQuota } from "../admission/cluster-quota.ts";
import { CpuClaims } from "../machine/cores.ts";
import type { Sandbox } from "../sandbox/sandbox.ts";
import { Places } from "../admission/places.ts";
import { WaitingLine } from "../admission/waiting-line.ts";
import type { OutputReader } from "../output/line-cutter.ts";
import type { PackageUse } from "../packages/cache.ts";
import { packageUser } from "../packages/intake.ts";
import { findModule } from "../packages/module-source.ts";
import type { PackageStore } from "../packages/store.ts";
import type { HostPool } from "./host-pool.ts";
import type { LeaseHost } from "./host-process.ts";
import { type KeptHosts, type RestingHost, keepKey } from "./kept-hosts.ts";
import { LeaseMemory, shapeOf } from "./lease-memory.ts";
import { LeaseNotes } from "./lease-notes.ts";
import type { LeaseTable } from "./lease-table.ts";
import { LeasedHost } from "./leased-host.ts";
import type { Client } from "./reception.ts";

export interface GrantingOptions {
  book: LeaseBook;
  table: LeaseTable;
  pool: HostPool<LeaseHost>;
  kept: KeptHosts;
  sandbox: Sandbox;
  /** How many hosts of leases, and kept ones, the node has at a time, at most. */
  mostHosts: number;
  /** For leases that do not say how to wait. */
  polling: Polling;
  fabrics: readonly FabricOffer[];
  /** How long a host may be stopped, or give no sign of life while calls are in flight, where its lease does not say. Default 2 s. */
  hostTimeoutMs?: number | undefined;
  /** Clients must encrypt what they send over a network. */
  encrypt: boolean;
  /** Where clients bring their data, if not to the node's own port. */
  dataPort: number | undefined;
  packages: PackageStore;
  /** A client has a lease of a package. */
  onPackage(client: Client, hash: string): void;
  /** More or fewer wait for room, or are offered some. */
  lineChanged(): void;
  /** Whether a client is still connected. */
  isThere(client: Client): boolean;
  log(level: "info" | "warn", message: string): void;
  /** Where what functions print goes in the place of the log. */
  output: OutputReader | undefined;
  clock: Clock;
}

/** The longest time to load that a client can ask for. */
const MAX_LOAD_MS = 600_000;
/** A host may take this long to start, on a machine that swaps. */
const START_LIMIT_NS = 20e9;

interface Booked {
  lease: number;
  share: Share;
  /** Whom its host becomes; undefined where hosts stay the node's. */
  hostUser: HostUser | undefined;
  /** What counts against its user while others wait. */
  use: Use;
}

interface Taken {
  host: LeaseHost;
  memory: LeaseMemory;
  prewarmed: boolean;
  /** It has loaded the module for a former lease. */
  resting?: RestingHost;
}

export class Granting {
  readonly #options: GrantingOptions;
  readonly #book: LeaseBook;
  readonly #table: LeaseTable;
  readonly #clock: Clock;
  /** What users may hold. */
  readonly quota: ClusterQuota;
  readonly #claims: CpuClaims;
  readonly #users: HostUsers;
  readonly #line: WaitingLine;
  readonly #places: Places;
  #refusal: string | null = null;

  constructor(options: GrantingOptions) {
    this.#options = options;
    this.#book = options.book;
    this.#table = options.table;
    this.#clock = options.clock;
    this.quota = new ClusterQuota(options.clock);
    this.#line = new WaitingLine(
      options.clock,
      (share) => this.#book.letGo(share),
      options.lineChanged,
    );
    this.#places = new Places(this.#line, this.#book, this.quota, () => this.#refusal);
    this.#claims = new CpuClaims((message) => options.log("warn", message));
    const { kept, sandbox, mostHosts } = options;
    this.#users = new HostUsers({
      ...{ users: sandbox.users, mostHosts },
      evict: () => kept.evict(),
      freed: () => this.#line.serve(),
    });
  }

  /** Grants no more leases for a `reason`, or with null grants them again. Present leases go on. */
  refuse(reason: string | null): void {
    this.#refusal = reason;
    this.#line.serve();
  }

  /** Grants a lease, or says why not. */
  async allocate(
    client: Client,
    request: MessageOf<typeof Allocate>,
    answer: Answer<typeof Allocate>,
  ): Promise<void> {
    const started = this.#clock.nowNs();
    // A request that the client repeats is one request, and has one answer.
    if (client.starting.has(request.id)) return;
    const { kept, log, output } = this.#options;
    const { identity } = client;
    client.starting.add(request.id);
    let booked: Booked;
    let waitedMs: number;
    try {
      ({ booked, waitedMs } = await this.#turn(client, request));
    } catch (error) {
      client.starting.delete(request.id);
      throw error;
    }
    // After the booking: a full node refuses before it asks for a package.
    const found = await this.#moduleFor(client, request, booked, answer);
    if (!found) return;
    const hash = packageNamed(request.module);
    if (hash !== undefined) this.#options.onPackage(client, hash);
    this.#options.kept.fit();
    this.#table.booked();

    let taken: Taken | undefined;
    let lease: LeasedHost;
    try {
      const shape = shapeOf(request, this.#options.polling);
      const listen = this.#listenFor(client, request);
      // The connections of a client end with its lease.
      const key = listen ? undefined : keepKey(client, request);
      taken = this.#resting(key) ?? (await this.#hostFor(shape, request));
      booked.hostUser?.isOf(taken.host, taken.resting !== undefined);
      const brings = listen?.address === "";
      const dataPort = brings ? this.#options.dataPort : undefined;
      const notes = new LeaseNotes(
        { lease: booked.lease, client, request, answer, module: found.name, dataPort, log, output },
        {
          ...{ prewarmed: taken.prewarmed, kept: taken.resting !== undefined },
          startedNs: started,
          ...{ hostReadyNs: this.#clock.nowNs(), clock: this.#clock, waitedMs },
        },
        {
          granted: () => this.#table.granted(),
          revoking: () => this.#table.revoking(),
          finished: (...end) => {
            this.quota.giveBack(booked.lease);
            this.#line.give(booked.use);
            this.#table.finished(...end);
          },
        },
      );
      const keep = key === undefined || !kept.open ? undefined : this.#keeper(key, request);
      const { host, memory, resting } = taken;
      const module = await lodged(taken, found, booked.hostUser);
      const own = { book: this.#book, clock: this.#clock, id: booked.lease, share: booked.share };
      const { sender } = client;
      const parts = { request, shape, module, listen, memory, sender, host, resting, keep };
      const { hostTimeoutMs } = this.#options;
      lease = new LeasedHost({ ...own, ...parts, hostTimeoutMs, claims: this.#claims }, notes);
    } catch (error) {
      client.starting.delete(request.id);
      taken?.host.kill();
      taken?.memory.close();
      found.end();
      this.#takeBack(booked);
      return answer.fail("RFAAS_NODE_FAILED", explainFailure(error));
    }
    this.#table.add(lease, client, request.id);
    const wanted = client.starting.delete(request.id);
    if (this.#endsUnused(lease, client, wanted)) return;
    if (client.identity !== identity) this.#table.extend(client, rightEndNs(client, this.#clock));
    try {
      lease.attach();
    } catch (error) {
      answer.fail("RFAAS_NODE_FAILED", explainFailure(error));
      lease.end({ kind: "load-failed" });
    }
  }

  /** Whether it ends before its client has it, for what has happened while a host was started. */
  #endsUnused(lease: LeasedHost, client: Client, wanted: boolean): boolean {
    // The node was told to drain.
    if (this.#book.state(lease.id)?.phase === "ended") lease.perform(ENDED_EARLY);
    else if (!this.#options.isThere(client)) lease.end({ kind: "client-gone" });
    else if (!wanted) lease.end({ kind: "released" });
    else if (client.revoked) lease.end({ kind: "revoked", by: "token-revoked" });
    else return false;
    return true;
  }

  /** The module, where there is one, and the user may hold as much in the whole cluster; else answers why not, and takes the share back. */
  async #moduleFor(
    client: Client,
    request: MessageOf<typeof Allocate>,
    booked: Booked,
    answer: Answer<typeof Allocate>,
  ): Promise<PackageUse | undefined> {
    const { identity, starting } = client;
    const [found, over] = await Promise.all([
      findModule(this.#options.packages, request.module, packageUser(identity)),
      this.quota.reserve(booked.lease, identity),
    ]);
    if (!over && !("code" in found)) return found;
    starting.delete(request.id);
    this.#takeBack(booked);
    if (!("code" in found)) found.end();
    if (over) answer.fail("RFAAS_TOKEN_LIMIT", over.why, undefined, over.limit);
    else if ("code" in found) answer.fail(found.code, found.message);
    return undefined;
  }

  /** Books at once, or when it is the request's turn. Rejects with {@link RequestRefused}. */
  async #turn(
    client: Client,
    request: MessageOf<typeof Allocate>,
  ): Promise<{ booked: Booked; waitedMs: number }> {
    const { user, weight } = client.identity;
    await this.#users.makeWayFor(client.identity);
    const { workers, coresPerWorker = 1, offer } = request;
    return await this.#line.turn(
      { client, user, weight, request: request.id, waitMs: this.#waitMs(request) },
      { cores: workers * coresPerWorker, memoryBytes: leasedBytes(request), offer },
      () => this.#take(client, request),
    );
  }

  /** Offers the client room when it is its turn. Rejects with {@link RequestRefused} when it waits in vain. */
  waitInLine(
    client: Client,
    request: MessageOf<typeof WaitInLine>,
    answer: Answer<typeof WaitInLine>,
  ): Promise<void> {
    const recall = () => client.connection.send({ t: "recall", offer: request.id });
    return this.#places.wait(client, request, answer, recall);
  }

  /** Those that wait for room. */
  lineState(): LineState {
    return this.#line.state();
  }

  /** How long the request may wait for room; what the node can never hold does not wait. */
  #waitMs(request: Allocate): number {
    const { waitMs = 0, workers, coresPerWorker = 1 } = request;
    return this.#book.canEverHold(workers * coresPerWorker, leasedBytes(request)) ? waitMs : 0;
  }

  /** There may be room for requests that wait. */
  serve(): void {
    this.#line.serve();
  }

  /** The client has withdrawn the request, or is gone with all of its own. */
  withdraw(client: Client, request?: number): void {
    this.#line.leave(client, request);
  }

  /** Takes a share of the node's capacity and of the user's quota. Throws {@link RequestRefused}. */
  #take(client: Client, request: Allocate): Booked {
    if (this.#refusal !== null) throw new RequestRefused("RFAAS_NODE_REFUSES", this.#refusal);
    const { identity, revoked } = client;
    if (revoked) throw new RequestRefused("RFAAS_FORBIDDEN", revoked.why);
    const offer = this.#offerTo(client, request.fabric);
    const refusal = refusalOf(request, offer, identity, this.quota, this.#options.sandbox);
    if (refusal) throw new RequestRefused(refusal.code, refusal.message, { limit: refusal.limit });
    const unreached = this.#options.sandbox.whyUnreached(
      request,
      this.#listenFor(client, request)?.address,
    );
    if (unreached !== undefined) throw new RequestRefused("RFAAS_NO_SHARED_FABRIC", unreached);
    const book = this.#book;
    const { workers, coresPerWorker = 1, ttlMs, loadTimeoutMs } = request;
    const hostUser = this.#users.holdFor(identity);
    const booked = book.request(
      {
        ...{ workers, coresPerWorker, memoryBytes: leasedBytes(request) },
        ttlNs: ttlMs * 1e6,
        // The host enforces the limit itself, with a better error; but the node must not depend on its host.
        loadLimitNs: Math.min(loadTimeoutMs, MAX_LOAD_MS) * 1e6 + START_LIMIT_NS,
        // Counted from a moment after the remaining time was read: a lease does not end before its token.
        untilNs: rightEndNs(client, this.#clock),
      },
      this.#clock.nowNs(),
    );
    if (typeof booked === "string") {
      hostUser?.release();
      throw new RequestRefused(book.draining ? "RFAAS_NODE_DRAINING" : "RFAAS_NODE_FULL", booked);
    }
    this.quota.take(booked.lease, identity.user, heldBy(request));
    const use = this.#line.take(identity, workers * coresPerWorker);
    return { ...booked, hostUser, use };
  }

  #offerTo({ fabrics }: Client, name: string): FabricOffer | undefined {
    const offered = this.#options.fabrics.find(({ fabric }) => fabric.name === name);
    return fabrics.includes(name) ? offered : undefined;
  }

  /** How the host is to wait for a client that connects. */
  #listenFor(client: Client, { fabric, encrypt = false }: Allocate): ListenOrder | null {
    const order = this.#offerTo(client, fabric)?.listenFor(client.reachedAt) ?? null;
    return order && { ...order, encrypt: encrypt || this.#options.encrypt };
  }

  #resting(key: string | undefined): Taken | undefined {
    const resting = key === undefined ? undefined : this.#options.kept.take(key);
    return resting && { ...resting, prewarmed: false, resting };
  }

  /** A host that has loaded nothing. One that is kept goes where the machine has too little for another. */
  async #hostFor(shape: RegionShape, request: Allocate): Promise<Taken> {
    const { pool, kept, sandbox } = this.#options;
    const memory = new LeaseMemory(shape);
    for (;;) {
      try {
        return { memory, ...(await pool.take(shape.workers, sandbox.termsFor(request))) };
      } catch (error) {
        const evicted = kept.evict();
        if (!evicted) {
          memory.close();
          throw error;
        }
        await evicted;
      }
    }
  }

  #keeper(key: string, { keepWarmMs = 0 }: Allocate): (resting: RestingHost) => void {
    return (resting) => this.#options.kept.keep(resting, key, keepWarmMs);
  }

  /** The node could not start a host for it. */
  #takeBack({ lease: id, hostUser, use }: Booked): void {
    hostUser?.release();
    const reason: EndReason = { kind: "load-failed" };
    this.#book.advance(id, { kind: "ended", atNs: this.#clock.nowNs(), reason });
    this.#book.free(id);
    this.quota.giveBack(id);
    this.#line.give(use);
    this.#table.booked();
  }
}

/** When the client's right to its leases ends, by the clock. */
export const rightEndNs = ({ identity }: Client, clock: Clock): number =>
  clock.nowNs() + rightLeftMs(identity) * 1e6;

/** The module as the host is to load it; one that rests has loaded it. */
const lodged = async (
  { host, resting }: Taken,
  found: PackageUse,
  hostUser: HostUser | undefined,
): Promise<PackageUse> => (resting ? found : await host.admit(found, hostUser?.becomes));

/** Cleans up after a lease that was revoked while its host was started. */
const ENDED_EARLY: readonly LeaseEffect[] = ["announce-loss", "stop-host", "return-capacity"];

function explainFailure(error: unknown): string {
  return (
    shortage(error, "the node") ??
    `the node could not start a host: ${reasonOf(error)}; see the node's log`
  );
}

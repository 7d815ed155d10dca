/**
 * Managers that share an etcd: one leads while its lease there goes on, and each transaction of its own says that it still does; others
 * stand by, read what it keeps, and one of them takes over when the lease is over. Keys and certificates are not in etcd.
 */
import { join } from "node:path";
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../../base/clock.ts";
import { EnvironmentError, RegistryUnavailable } from "../../../base/errors.ts";
import { publishOnce } from "../../../trust/files.ts";
import type {
  ClusterState,
  FinalBill,
  Identity,
  Reached,
  ShareEvents,
  Standing,
  StateOptions,
} from "../cluster-state.ts";
import { BillLog } from "./bill-log.ts";
import { type Condition, Etcd } from "./client.ts";
import { FileMirror } from "./file-mirror.ts";
import { Leadership } from "./leadership.ts";
import type { EtcdPlace } from "./place.ts";
import { KnownManagers } from "./known-managers.ts";
import {
  CLUSTER_FILE,
  LeaderRecord,
  SharedIdentity,
  clusterIn,
  readRecord,
  whyUnfit,
} from "./records.ts";

/** After the leader's death no manager leads for so long, and a moment. */
const LEASE_TTL_S = 4;
const RENEW_INTERVAL_MS = 1_000;
/** Between two looks at what others do. */
const ROUND_INTERVAL_MS = 300;
const TICK_MS = 100;
const NO_LEADER = "no manager leads at this moment";

export class EtcdState implements ClusterState {
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #options: StateOptions;
  readonly #clock: Clock;
  readonly #leadership = new Leadership();
  readonly #later: FinalBill[] = [];
  #events: ShareEvents | undefined;
  #at: Reached = { address: "", http: null };
  #identity: () => Identity = () => ({ cluster: "", ca: null, tokenKey: null });
  #files: FileMirror | undefined;
  #bills: BillLog | undefined;
  #managers: KnownManagers | undefined;
  #timers: Timer[] = [];
  #problem: string | null = null;
  /** Why this manager may not lead, whatever others do; undefined when it may. */
  #unfit: string | undefined;
  #told: Standing | undefined;
  #renewing = false;
  #round: Promise<void> | undefined;
  #ended = false;

  private constructor(place: EtcdPlace, options: StateOptions, clock: Clock) {
    this.#etcd = new Etcd(place);
    this.#prefix = place.prefix;
    this.#options = options;
    this.#clock = clock;
  }

  /**
   * Makes sure that the state directory is of the cluster that etcd has; a new directory becomes so.
   *
   * @throws {EnvironmentError} it is of another one
   * @throws {RegistryUnavailable} the directory is new, and etcd does not answer
   */
  static async open(
    place: EtcdPlace,
    options: StateOptions,
    clock: Clock = SYSTEM_CLOCK,
  ): Promise<EtcdState> {
    const state = new EtcdState(place, options, clock);
    const { stateDir } = options;
    const own = clusterIn(stateDir);
    try {
      const shared = await state.#shared();
      if (!shared) return state;
      if (own === undefined)
        publishOnce(join(stateDir, CLUSTER_FILE), `${shared.cluster}\n`, 0o644);
      else if (own !== shared.cluster)
        throw new EnvironmentError(
          `the state directory ${stateDir} is of the cluster ${own}, and etcd's ${place.prefix} of ${shared.cluster}; name another --state or another prefix, or copy cluster-id, token-key.pem and ca-key.pem from the other manager's state directory`,
        );
    } catch (error) {
      if (own === undefined || !(error instanceof RegistryUnavailable)) throw error;
      state.#problem = error.message;
    }
    return state;
  }

  get standing(): Standing {
    if (this.#leadership.leadsAt(this.#clock.nowMs())) return { leads: true };
    const { other } = this.#leadership;
    if (this.#problem !== null) return { leads: false, why: `${NO_LEADER}: ${this.#problem}` };
    if (other && other.address === this.#at?.address)
      return { leads: false, why: `${NO_LEADER}: its own former term ends in etcd soon` };
    if (other) return { leads: false, leader: other.address, why: `${other.address} leads` };
    return { leads: false, why: this.#unfit ?? NO_LEADER };
  }

  get problem(): string | null {
    return this.#problem ?? this.#unfit ?? null;
  }

  async begin(at: Reached, identity: () => Identity, events: ShareEvents): Promise<void> {
    this.#at = at;
    this.#identity = identity;
    this.#events = events;
    const { stateDir, notes } = this.#options;
    const warn = (message: string): void => events.log("warn", message);
    this.#files = new FileMirror(this.#etcd, `${this.#prefix}/files/`, stateDir, warn);
    this.#bills = new BillLog(this.#etcd, this.#prefix, notes, {
      record: (bills) => events.bills(bills),
      warn,
    });
    this.#managers = new KnownManagers(this.#etcd, this.#key("managers/"), at.address, events);
    this.#timers = [
      this.#clock.every(TICK_MS, () => this.#tick()),
      this.#clock.every(RENEW_INTERVAL_MS, () => void this.#renew()),
      this.#clock.every(ROUND_INTERVAL_MS, () => this.#look()),
    ];
    this.#look();
    await this.#round;
  }

  async settle(): Promise<void> {
    await this.#files?.sync();
  }

  async keep(bills: readonly FinalBill[]): Promise<void> {
    const leads = this.#leads();
    if (!leads) throw new RegistryUnavailable(`this manager does not lead: ${NO_LEADER}`);
    if (await this.#bills!.keep(this.#known(bills), leads)) return;
    this.#leadership.lost();
    this.#tick();
    throw new RegistryUnavailable("another manager leads by now; nodes hand their bills in there");
  }

  keepLater(bills: readonly FinalBill[]): void {
    this.#later.push(...bills);
  }

  async end(): Promise<void> {
    this.#ended = true;
    for (const timer of this.#timers) timer.clear();
    await this.#round?.catch(() => {});
    const lease = this.#leadership.leaseAt(this.#clock.nowMs());
    this.#leadership.lost();
    this.#tick();
    // Without it, others wait until it is over.
    if (lease !== undefined) await this.#etcd.revokeLease(lease).catch(() => {});
  }

  /** Bills as the ledger has them by now: a report may be older than one before it, and its node may have come back since an end was presumed. */
  #known(bills: readonly FinalBill[]): FinalBill[] {
    // Each once: a transaction takes a key once.
    const known = new Map(bills.map((bill) => [bill.lease, bill]));
    return [...known].map(([lease, bill]) => this.#options.billOf(lease) ?? bill);
  }

  /** The condition of all that only the leader may write; undefined where it is not this one. */
  #leads(): Condition | undefined {
    const createRevision = this.#leadership.termAt(this.#clock.nowMs());
    return createRevision === undefined ? undefined : { key: this.#key("leader"), createRevision };
  }

  #key(name: string): string {
    return `${this.#prefix}/${name}`;
  }

  /** Tells of another standing, also where nothing is heard of etcd. */
  #tick(): void {
    this.#leadership.tick(this.#clock.nowMs());
    const { standing } = this;
    if (Bun.deepEquals(standing, this.#told)) return;
    this.#told = standing;
    this.#events?.standing(standing);
  }

  async #renew(): Promise<void> {
    const askedAtMs = this.#clock.nowMs();
    const lease = this.#leadership.leaseAt(askedAtMs);
    if (lease === undefined || this.#renewing) return;
    this.#renewing = true;
    try {
      this.#leadership.renewed(lease, await this.#etcd.renewLease(lease), askedAtMs);
    } catch (error) {
      this.#failed(error);
    } finally {
      this.#renewing = false;
    }
  }

  #look(): void {
    if (this.#round || this.#ended) return;
    this.#round = this.#oneRound()
      .then(
        () => this.#failed(null),
        (error: unknown) => this.#failed(error),
      )
      .finally(() => {
        this.#round = undefined;
        this.#tick();
      });
  }

  /** Logs what is wrong once, and when it is well again. */
  #failed(error: unknown): void {
    const problem = error === null ? null : (error as Error).message;
    if (problem === this.#problem) return;
    if (problem !== null) this.#events?.log("warn", `${problem}; leases and calls go on`);
    else this.#events?.log("info", "what the managers share can be reached again");
    this.#problem = problem;
  }

  async #oneRound(): Promise<void> {
    await this.#agree();
    await this.#files!.sync();
    const leads = this.#leads();
    if (leads) return await this.#lead(leads);
    await this.#bills!.follow();
    const [leader] = (await this.#etcd.range(this.#key("leader"))).keys;
    this.#leadership.saw(leader && readRecord(leader.value, LeaderRecord));
    // Nodes are not to be told of one whose certificates do not count.
    if (this.#unfit !== undefined) return;
    await this.#managers!.meet(this.#clock.wallMs(), this.#bills!.stored);
    if (!leader && !this.#ended) await this.#campaign();
  }

  async #lead(leads: Condition): Promise<void> {
    const later = this.#later.length;
    if (later > 0 && (await this.#bills!.keep(this.#known(this.#later.slice(0, later)), leads)))
      this.#later.splice(0, later);
    await this.#bills!.compact(leads, this.#clock.nowMs());
    const all = await this.#managers!.meet(this.#clock.wallMs(), this.#bills!.stored);
    await this.#bills!.forget(leads, all);
  }

  async #campaign(): Promise<void> {
    const askedAtMs = this.#clock.nowMs();
    const { id, ttlMs } = await this.#etcd.grantLease(LEASE_TTL_S);
    this.#leadership.granted(id, ttlMs, askedAtMs);
    const key = this.#key("leader");
    const term = await this.#etcd.transact(
      [{ key, createRevision: 0 }],
      [{ put: key, value: JSON.stringify(this.#at), lease: id }],
    );
    if (term === undefined) {
      this.#leadership.lost();
      await this.#etcd.revokeLease(id);
      return;
    }
    this.#leadership.won(term);
    // What the one before has kept in its last moment.
    await this.#files!.sync();
    await this.#bills!.follow();
    this.#leadership.caughtUp();
  }

  /** Whether this manager has what makes its tokens and certificates good in the cluster. */
  async #agree(): Promise<void> {
    const own = this.#identity();
    const shared = await this.#shared();
    const leads = this.#leads();
    const key = this.#key("cluster");
    const value = JSON.stringify(own);
    if (!shared)
      return void (await this.#etcd.transact([{ key, createRevision: 0 }], [{ put: key, value }]));
    // Who leads says which key counts.
    if (leads && !Bun.deepEquals(own, shared)) {
      await this.#etcd.transact([leads], [{ put: key, value }]);
      return;
    }
    const unfit = whyUnfit(own, shared, this.#options.stateDir, key);
    if (unfit !== undefined && unfit !== this.#unfit) this.#events?.log("warn", unfit);
    this.#unfit = unfit;
  }

  async #shared(): Promise<Identity | undefined> {
    const [found] = (await this.#etcd.range(this.#key("cluster"))).keys;
    return found && readRecord(found.value, SharedIdentity);
  }
}

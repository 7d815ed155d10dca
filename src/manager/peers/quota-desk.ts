/** Where nodes ask what users may hold in the whole cluster, and hear what they may give while there is no manager to ask. */
import type { Clock, Timer } from "../../base/clock.ts";
import { RequestRefused } from "../../control/requests.ts";
import type { MessageOf } from "../../protocol/declare.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";
import type { UserLimits, UserWord } from "../../protocol/tokens/limits.ts";
import type { Holdings, Reserve } from "../../protocol/manager-messages.ts";
import type { NodePeer } from "./peer.ts";
import type { Records } from "../state/records.ts";
import { ClusterQuotas, type Held } from "../quotas/cluster-quotas.ts";

export interface QuotaDeskOptions {
  /** The limits of users, by their names. */
  limits: Pick<Records<UserLimits>, "all" | "onChange">;
  /** What leases of a user have cost since then, by the ledger. */
  usedCoreNs(user: string, sinceMs: number): number;
  /** The latest report of every lease that has not ended, by the ledger. Throws when that cannot be used. Default: none. */
  open?(): readonly UsageReport[];
  /** For how long leases of a node that is away count. */
  graceMs: number;
}

/** How long changes wait, to be told together with others. */
const GATHER_MS = 10;
/** How often core-hours are looked at. */
const SPENDING_MS = 1_000;
const MAX_PART = 500;
export const COUNTS_QUOTAS = "quotas";

export class QuotaDesk {
  readonly quotas: ClusterQuotas;
  readonly #clock: Clock;
  readonly #limits: QuotaDeskOptions["limits"];
  readonly #open: () => readonly UsageReport[];
  readonly #nodes = new Map<string, NodePeer>();
  readonly #ticks: Timer;
  #gathering: Timer | undefined;

  constructor({ limits, usedCoreNs, open = () => [], graceMs }: QuotaDeskOptions, clock: Clock) {
    this.#clock = clock;
    this.#open = open;
    this.#limits = limits;
    this.quotas = new ClusterQuotas({ limits: () => limits.all(), usedCoreNs }, graceMs);
    limits.onChange(() => {
      this.quotas.limitsChanged();
      this.#tellSoon();
    });
    this.#ticks = clock.every(SPENDING_MS, () => this.#tick());
    this.beginAnew();
  }

  /** It counts from now on: what nodes hold that have not come yet is by the ledger, as far as that knows it. Memory is not in it. */
  beginAnew(): void {
    for (const [instance, reports] of Map.groupBy(this.#openReports(), instanceOf)) {
      const leases = reports.map(heldBy);
      this.quotas.presume(instance, reports[0]!.node, leases, this.#clock.nowMs());
    }
  }

  /** A node has come. */
  joined(node: NodePeer): void {
    const { instance, name, can } = node.role;
    const counts = can.includes(COUNTS_QUOTAS);
    this.quotas.came(instance, name, counts);
    if (counts) {
      this.#nodes.set(instance, node);
      this.#tell(node, this.quotas.users(), true);
    }
    this.#tellSoon();
  }

  gone(node: NodePeer): void {
    const { instance } = node.role;
    if (this.#nodes.get(instance) === node) this.#nodes.delete(instance);
    this.quotas.went(instance, this.#clock.nowMs());
    this.#tellSoon();
  }

  /** Throws {@link RequestRefused}. */
  reserve({ role }: NodePeer, { limits, ...held }: MessageOf<typeof Reserve>): object {
    const over = this.quotas.reserve(role.instance, held, limits, this.#clock.wallMs());
    if (over) throw new RequestRefused("RFAAS_TOKEN_LIMIT", over.why, { limit: over.limit });
    this.#tellSoon();
    return {};
  }

  unreserve({ role }: NodePeer, lease: number): void {
    this.quotas.unreserve(role.instance, lease);
    this.#tellSoon();
  }

  holds({ role }: NodePeer, { leases, first }: MessageOf<typeof Holdings>): void {
    this.quotas.holds(role.instance, leases, !first);
    this.#tellSoon();
  }

  /** What a node of an earlier rfaas leases counts by its bills, which have no memory in them. */
  reported({ role }: NodePeer, reports: readonly UsageReport[]): void {
    if (role.can.includes(COUNTS_QUOTAS)) return;
    for (const report of reports) {
      const held = heldBy(report);
      if (report.endedAtMs === null) this.quotas.holds(role.instance, [held], true);
      else this.quotas.unreserve(role.instance, held.lease);
    }
    this.#tellSoon();
  }

  /** What the manager knows of a user. */
  statusOf(user: string) {
    const { total, nodes } = this.quotas.holdingOf(user);
    const usedCoreHours = this.quotas.usedCoreHours(user, this.#clock.wallMs());
    return {
      user,
      limits: this.#limits.all().get(user) ?? {},
      held: total,
      nodes: nodes.map(({ node, held }) => ({ node, ...held })),
      ...(usedCoreHours === undefined ? {} : { usedCoreHours }),
    };
  }

  close(): void {
    this.#ticks.clear();
    this.#gathering?.clear();
  }

  #openReports(): readonly UsageReport[] {
    try {
      return this.#open();
    } catch {
      // The ledger's own state says so to operators and nodes.
      return [];
    }
  }

  #tick(): void {
    this.quotas.tick(this.#clock.nowMs());
    this.#tellAll([...new Set([...this.quotas.takeChanged(), ...this.quotas.spending()])]);
  }

  #tellSoon(): void {
    this.#gathering ??= this.#clock.after(GATHER_MS, () => {
      this.#gathering = undefined;
      this.#tellAll(this.quotas.takeChanged());
    });
  }

  #tellAll(users: readonly string[]): void {
    if (users.length > 0) for (const node of this.#nodes.values()) this.#tell(node, users, false);
  }

  #tell({ role, connection }: NodePeer, users: readonly string[], first: boolean): void {
    const place = this.quotas.placeOf(role.instance);
    if (!place) return;
    const wallMs = this.#clock.wallMs();
    const words: UserWord[] = users.flatMap(
      (user) => this.quotas.wordFor(role.instance, user, wallMs) ?? [],
    );
    for (let from = 0; from < words.length || from === 0; from += MAX_PART) {
      const part = words.slice(from, from + MAX_PART);
      connection.send({ t: "quota", ...place, first: first && from === 0, users: part });
    }
  }
}

const instanceOf = ({ lease }: UsageReport): string => lease.slice(0, lease.lastIndexOf("/"));

/** As far as a bill says it. */
const heldBy = ({ lease, user, workers, coresPerWorker = 1 }: UsageReport): Held => ({
  lease: Number(lease.slice(lease.lastIndexOf("/") + 1)),
  ...{ user, cores: workers * coresPerWorker, memoryBytes: 0 },
});

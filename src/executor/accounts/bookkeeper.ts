/** Keeps the manager informed about a node: what is free, what leases cost; does what the manager asks. */
import { type Address, isLoopback, parseAddress } from "../../control/address.ts";
import { machineId } from "../../control/machine.ts";
import { Managers } from "../../control/managers.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";
import type { ClusterQuota } from "../admission/cluster-quota.ts";
import type { Revocation } from "../../protocol/tokens/revocation.ts";
import type { Agent } from "../agent/agent.ts";
import type { LeaseBill } from "../agent/lease-table.ts";
import type { Doorkeeper } from "../admission/identity.ts";
import { SYSTEM_CLOCK } from "../../base/clock.ts";
import { countOf } from "../../base/units.ts";
import type { OwnAddress } from "../../control/reach/reach.ts";
import { AddressCheck } from "./address-check.ts";
import { BillJournal } from "./journal.ts";
import { type LeftBills, leftBills } from "./left-bills.ts";
import type { LinkOptions, ManagerLinkOptions } from "./link-options.ts";
import { ManagerLink } from "./manager-link.ts";

/** The node whose books are kept. */
export type BookedNode = Pick<
  Agent,
  | "cores"
  | "free"
  | "leaseCount"
  | "keptHosts"
  | "waiting"
  | "waitingSinceMs"
  | "draining"
  | "revoke"
  | "resume"
  | "refuse"
  | "watch"
>;

export interface BookkeeperOptions extends LinkOptions {
  /** `HOST:PORT`, `rfaas://..` or a socket path; of several managers, all with commas between. */
  manager: Address | readonly Address[] | string;
  /** What the node shows the manager, where it has joined by certificate; left out, `RFAAS_TOKEN`. */
  token?: () => string | null;
  /** The manager does not take that. */
  tokenRefused?(): void;
  /** What users hold here. Default: the manager is not asked. */
  quota?: Pick<ClusterQuota, "counts" | "word">;
  /** Hears which tokens count no more. */
  revoked?(tokens: readonly Revocation[]): void;
  /** What the node shows while it has none by certificate. Default: `RFAAS_TOKEN`. */
  givenToken?: string | null;
  /** Unique in the cluster. */
  name: string;
  /** Where clients find the node. */
  address: string;
  memoryBytes: number;
  fabrics: string[];
  /** How long leases may go on when the manager removes the node. */
  removalLimitMs: number;
  /** What answers at the node's port when the manager looks for it there. Default: the manager is not asked to look. */
  own?: OwnAddress | undefined;
  /** Where bills are kept that no manager has taken yet. Default: in memory alone. */
  journals?: string | undefined;
  /** Tells this run of the node from earlier and later ones. Default: random. */
  instance?: string;
  log(level: "info" | "warn", message: string): void;
}

/** Whether clients find the node there without leaving the machine. */
function isOfThisMachine(text: string): boolean {
  const address = parseAddress(text);
  return address.kind === "unix" || isLoopback(address.host);
}

export class Bookkeeper {
  /** A new one at each start: leases of different runs of a node are different leases. */
  readonly #instance: string;
  readonly #name: string;
  readonly #log: BookkeeperOptions["log"];
  readonly #link: ManagerLink;
  readonly #check: AddressCheck | undefined;
  readonly #journal: BillJournal | undefined;
  readonly #stops = new AbortController();

  /** Throws {@link UsageError} when `manager` is no address. */
  constructor(
    agent: BookedNode,
    doorkeeper: Pick<Doorkeeper, "useKey">,
    options: BookkeeperOptions,
  ) {
    const { manager, name, address, memoryBytes, fabrics, removalLimitMs, log, own, ...rest } =
      options;
    const { revoked, quota } = options;
    const { instance = crypto.randomUUID(), tokenRefused = () => {}, journals, ...others } = rest;
    const { givenToken = process.env["RFAAS_TOKEN"] || null, ...link } = others;
    const managers = new Managers(manager).places;
    this.#name = name;
    this.#log = log;
    this.#instance = instance;
    this.#check =
      own &&
      new AddressCheck({
        ...{ own, address, manager: managers, log, clock: rest.clock },
        ask: (proof) => this.#link.lookFor(proof),
      });
    const shared = { ...link, manager };
    const announce = {
      ...{ name, instance, address, cores: agent.cores, memoryBytes, fabrics },
      ...{ machine: machineId(), token: givenToken },
    };
    const of = { node: name, manager: managers };
    if (journals !== undefined) {
      for (const left of leftBills(journals, of, log))
        void this.#handIn(left, { ...shared, announce }, log);
      const clock = rest.clock ?? SYSTEM_CLOCK;
      this.#journal = new BillJournal({
        folder: journals,
        of: { ...of, instance, cores: agent.cores },
        log,
        clock,
      });
    }
    this.#link = new ManagerLink({
      ...shared,
      announce,
      events: {
        saved: (report) => this.#journal?.taken(report),
        drain(deadlineMs) {
          log("info", `the manager drains this node: leases end within ${deadlineMs / 1000} s`);
          agent.revoke(deadlineMs, "drained");
        },
        resume() {
          if (agent.draining) log("info", "the manager lets this node grant leases again");
          agent.resume();
        },
        tokenRefused,
        authority() {
          // A member has one; and on this machine, none is asked for.
          if (options.token || isOfThisMachine(address)) return;
          log(
            "warn",
            `clients of other machines will not trust this node: it has not joined the cluster. Type on the manager's machine: rfaas node join-token, and start the node with what it prints`,
          );
        },
        removed() {
          log("warn", "the manager has removed this node; it grants no more leases");
          agent.revoke(removalLimitMs, "removed");
        },
        readmitted() {
          log("info", "the manager has this node in the cluster again");
          agent.resume();
        },
        joined: (looks) => this.#check?.joined(looks),
        key(publicKey) {
          if (publicKey !== null) doorkeeper.useKey(publicKey, "the manager's key");
        },
        revoked: (tokens) => revoked?.(tokens),
        quotas: (counts) => quota?.counts(counts),
        quota: (word) => quota?.word(word),
        ledger(problem) {
          agent.refuse(
            problem === null
              ? null
              : `the manager cannot keep the bill (${problem}); try again when its disk has room`,
          );
        },
        log,
      },
    });
    const tellCapacity = (): void => {
      const { cores, memoryBytes: freeMemoryBytes } = agent.free;
      const { leaseCount: leases, keptHosts, waiting, waitingSinceMs, draining } = agent;
      const free = { freeCores: cores, freeMemoryBytes };
      const line = { waiting, ...(waitingSinceMs === undefined ? {} : { waitingSinceMs }) };
      this.#link.capacity({ ...free, leases, keptHosts, ...line, draining });
    };
    tellCapacity();
    agent.watch({
      capacity: tellCapacity,
      usage: (bill) => {
        const report = this.#report(bill);
        // What goes on, the manager knows as well as the journal, as long as it is there.
        this.#journal?.note(report, report.endedAtMs !== null || !this.#link.connected);
        this.#link.usage([report]);
      },
    });
  }

  /** How many leases have a newest report that no manager has confirmed. */
  get unsavedCount(): number {
    return this.#link.unsavedCount;
  }

  /** Hands in the remaining bills, and tells the manager that the node leaves. Never rejects. */
  async leave(): Promise<void> {
    this.#check?.close();
    await this.#link.leave();
    this.#stops.abort();
    this.#journal?.close();
    const kept = this.#journal?.size ?? 0;
    if (kept > 0)
      this.#log(
        "info",
        `${countOf(kept, "bill")} kept in ${this.#journal!.path} until this node starts again`,
      );
  }

  /** What an earlier run has left goes in as that run, which is out of the cluster. */
  async #handIn(
    { instance, cores, reports, done, stays }: LeftBills,
    { announce, ...options }: Omit<ManagerLinkOptions, "events">,
    log: BookkeeperOptions["log"],
  ): Promise<void> {
    const ignored = (): void => {};
    const events = {
      drain: ignored,
      resume: ignored,
      removed: ignored,
      key: ignored,
      log: ignored,
    };
    const link = new ManagerLink({
      ...options,
      announce: { ...announce, instance, cores },
      events,
    });
    link.usage(reports);
    await link.leave(this.#stops.signal);
    if (link.unsavedCount > 0) return stays();
    done();
    log(
      "info",
      `${countOf(reports.length, "bill")} that an earlier run of this node had left handed in`,
    );
  }

  #report(bill: LeaseBill): UsageReport {
    const { lease, user, workers, coresPerWorker, project, startedAtMs, usage, ended } = bill;
    return {
      lease: `${this.#instance}/${lease}`,
      node: this.#name,
      user,
      workers,
      ...(coresPerWorker === 1 ? {} : { coresPerWorker }),
      ...(project === undefined ? {} : { project }),
      startedAtMs,
      endedAtMs: ended?.atMs ?? null,
      reason: ended?.reason ?? null,
      usage,
    };
  }
}

/**
 * A node's link to its manager: it announces the node, its free capacity and what its leases cost. The node never waits for the
 * manager: without one it goes on serving, and keeps bills until a manager has confirmed them.
 */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import { LastingConnection } from "../../control/lasting-connection.ts";
import { type Acquaintance, type Reached, whyWithheld } from "../../control/dial-socket.ts";
import { peerEnd } from "../../control/identity/ends.ts";
import { Showing } from "../../control/identity/showing.ts";
import { dialLink } from "../../control/link.ts";
import { Managers } from "../../control/managers.ts";
import type { Proof } from "../../control/reach/reach.ts";
import { type Handlers, RequestRefused, Requests, answering } from "../../control/requests.ts";
import {
  BindRow,
  CheckAddress,
  type Capacity,
  GetCounters,
  HEARTBEAT_INTERVAL_MS,
  MANAGER_PROTOCOL_VERSION,
  MANAGER_SILENCE_MS,
  MAX_PART_ENTRIES,
  type ManagerToNode,
  NODE_CAN,
  ReportUsage,
  type ToManager,
  type UsageReport,
  managerToNode,
  managerToNodeVocabulary,
} from "../../protocol/manager-messages.ts";
import type { Revocation } from "../../protocol/tokens/revocation.ts";
import { Credential } from "../../protocol/holder/credential.ts";
import { VERSION } from "../../base/version.ts";
import type { OneSidedCounters } from "../../fabric/counters.ts";
import { counting } from "../../fabric/registry.ts";
import { quotasBy } from "./quota-link.ts";
import { LedgerAdder, type LedgerAdderEvents } from "./ledger-adder.ts";
import type { ManagerLinkEvents, ManagerLinkOptions, NodeAnnouncement } from "./link-options.ts";

/** How long a change of capacity waits, to be sent together with others. */
const GATHER_MS = 10;
const FLUSH_INTERVAL_MS = 100;
/** The link sends a batch again that the manager has not confirmed within this time. */
const CONFIRM_LIMIT_MS = 1_000;
/** How long {@link ManagerLink.leave} waits for bills to be saved. */
const LEAVE_LIMIT_MS = 5_000;
/** Bills that wait for a manager; with more, the oldest are lost. */
const MAX_UNSAVED = 1_000_000;

export class ManagerLink {
  readonly #managers: Managers;
  readonly #announce: NodeAnnouncement;
  readonly #token: (() => string | null) | undefined;
  readonly #events: ManagerLinkEvents;
  readonly #connection: LastingConnection<ManagerToNode, ToManager>;
  readonly #clock: Clock;
  readonly #heartbeat: Timer;
  /** The newest report of each running lease. The link sends all of them to a manager that has lost its state. */
  readonly #living = new Map<string, UsageReport>();
  /** The newest report of each lease that no manager has confirmed. */
  readonly #unsaved = new Map<string, UsageReport>();
  /** Running totals travel by counters where a fabric has them; the begin and the end of a lease travel by message. */
  readonly #adder: LedgerAdder | undefined;
  #capacity: Capacity;
  #capacityTimer: Timer | undefined;
  #flushTimer: Timer | undefined;
  #flushedAtMs = Number.NEGATIVE_INFINITY;
  /** Whether a batch is in flight. */
  #inFlight = false;
  readonly #requests: Requests;
  #accepted = false;
  #settling = false;
  #refused = false;
  readonly #credential: Credential | undefined;
  #showing = Showing.nothing();
  #revoked: readonly Revocation[] = [];
  #complaint = "";
  #full = false;
  /** The manager has said that it cannot save bills, and not yet that it can. */
  #ledgerFails = false;
  #leaving: Promise<void> | undefined;
  #onSaved: (() => void) | undefined;

  /** Connects in the background, and again after each loss. Throws `UsageError` when `manager` is no address, and `TokenRefused`; never throws later. */
  constructor({
    manager,
    announce,
    token,
    events,
    dial = dialLink,
    insecure,
    ...lasting
  }: ManagerLinkOptions) {
    const managers = (this.#managers = new Managers(manager));
    this.#credential = Credential.of(announce.token);
    this.#announce = { ...announce, fabrics: [...announce.fabrics] };
    this.#token = token;
    this.#events = events;
    this.#clock = lasting.clock ?? SYSTEM_CLOCK;
    const { cores: freeCores, memoryBytes: freeMemoryBytes } = announce;
    this.#capacity = { freeCores, freeMemoryBytes, leases: 0, draining: false };
    const way = counting.find(({ name }) => announce.fabrics.includes(name));
    this.#adder = way && this.#newAdder(way.name, way.counters);
    const heard = answering(managerToNode, this.#handlers());
    this.#connection = new LastingConnection<ManagerToNode, ToManager>(
      (link) =>
        dial(managers.current, managerToNodeVocabulary, link, { role: "manager", insecure }),
      MANAGER_SILENCE_MS,
      {
        opened: (peer, reached) => this.#greet(peer, reached),
        message: (message) => {
          if (!this.#requests.heard(message)) heard(message);
        },
        lost: (reason) => this.#lost(reason),
      },
      { maxDelayMs: managers.maxDelayMs, ...lasting },
    );
    this.#requests = new Requests({
      // The table sends only what a node may say.
      send: (message) => this.#connection.send(message as ToManager),
      clock: this.#clock,
    });
    this.#heartbeat = this.#clock.every(HEARTBEAT_INTERVAL_MS, () => this.#beat());
  }

  /** Whether the manager has accepted the node over the present connection. */
  get connected(): boolean {
    return this.#accepted;
  }

  /** Leases whose newest report no manager has confirmed. */
  get unsavedCount(): number {
    return this.#unsaved.size;
  }

  /** Asks the manager to look for the node at its address. Rejects when it does not, or the connection ends. */
  async lookFor(proof: Proof): Promise<string> {
    return (await this.#requests.ask(CheckAddress, { ...proof }, { holds: false })).reached;
  }

  /** What the node has free from now on. */
  capacity(capacity: Capacity): void {
    this.#capacity = { ...capacity };
    this.#capacityTimer ??= this.#clock.after(GATHER_MS, () => this.#sendCapacity());
  }

  /** Reports what leases have cost so far; the last report of a lease has an end. */
  usage(reports: readonly UsageReport[]): void {
    for (const report of reports) {
      const { lease } = report;
      const ended = report.endedAtMs !== null;
      const waiting = this.#unsaved.get(lease);
      // Its last report is already here.
      if (waiting && waiting.endedAtMs !== null && !ended) continue;
      if (ended) {
        this.#living.delete(lease);
        this.#adder?.end(lease);
      } else {
        this.#living.set(lease, report);
        if (this.#adder?.take(lease, report.usage)) continue;
      }
      this.#unsaved.set(lease, report);
    }
    this.#boundUnsaved();
    if (this.#unsaved.size > 0) this.#scheduleFlush();
  }

  /**
   * Hands in the remaining bills, leaves the cluster, and ends. Waits a bounded time for the manager, or until it is told to `giveUp`;
   * never rejects.
   */
  leave(giveUp?: AbortSignal): Promise<void> {
    return (this.#leaving ??= this.#leave(giveUp));
  }

  async #leave(giveUp: AbortSignal | undefined): Promise<void> {
    this.#settling ||= !this.#accepted;
    this.#adder?.close();
    if (this.#unsaved.size > 0) {
      const saved = new Promise<void>((resolve) => (this.#onSaved = resolve));
      const enough = (): void => this.#onSaved?.();
      const limit = giveUp ? undefined : this.#clock.after(LEAVE_LIMIT_MS, enough);
      giveUp?.addEventListener("abort", enough);
      this.#flush();
      if (!giveUp?.aborted) await saved;
      limit?.clear();
    }
    if (this.#unsaved.size > 0)
      this.#events.log(
        "warn",
        `${this.#unsaved.size} bills could not be handed in to the manager at ${this.#managers.places}`,
      );
    for (const timer of [this.#capacityTimer, this.#flushTimer, this.#heartbeat]) timer?.clear();
    if (this.#accepted) this.#connection.send({ t: "leaving" });
    this.#accepted = false;
    this.#requests.end(new Error("the node has left"));
    this.#connection.close();
  }

  #greet(peer: Acquaintance | undefined, reached: Reached | undefined): void {
    this.#refused = false;
    const own = Credential.of(this.#token?.() ?? null) ?? this.#credential;
    const withheld = peer && whyWithheld(peer, "manager", this.#managers.place);
    this.#showing = new Showing(own, peerEnd(this.#managers.current, peer, reached), withheld);
    this.#connection.send({
      t: "announce",
      protocol: MANAGER_PROTOCOL_VERSION,
      version: VERSION,
      ...this.#announce,
      token: this.#showing.token,
      settling: this.#settling,
      can: [...NODE_CAN],
    });
  }

  #handlers(): Handlers<typeof managerToNode> {
    return {
      accepted: ({ publicKey, ca, looks = false, can = [] }) => {
        if (ca !== undefined) this.#events.authority?.(ca);
        this.#welcomed(publicKey);
        // One that was started anew saves bills; if not, it says so next.
        if (this.#ledgerFails) this.#ledger(null);
        if (can.includes("quotas"))
          this.#events.quotas?.(quotasBy(this.#requests, this.#connection));
        if (!this.#settling && !this.#leaving) this.#events.joined?.(looks);
      },
      refused: ({ code, message }) => {
        this.#refused = true;
        // One of several stands by, and the next one is asked.
        if (code === "RFAAS_NOT_LEADER" && this.#managers.count > 1) return;
        if (code === "RFAAS_TOKEN") this.#events.tokenRefused?.();
        const why = code === "RFAAS_TOKEN" ? (this.#showing.withheld ?? message) : message;
        this.#complain(`the manager at ${this.#managers.place} refuses this node: ${why}`);
      },
      challenge: ({ nonce }) =>
        void this.#showing.proof(nonce).then(
          (proof) => this.#connection.send({ t: "prove", proof }),
          (error: Error) => this.#complain(error.message),
        ),
      ledger: ({ problem }) => this.#ledger(problem),
      drain: ({ deadlineMs }) => this.#events.drain(deadlineMs),
      resume: () => this.#events.resume(),
      quota: (word) => this.#events.quota?.(word),
      revoked: ({ tokens, first, last }) => {
        this.#revoked = first ? [...tokens] : [...this.#revoked, ...tokens];
        if (last) this.#events.revoked?.(this.#revoked);
      },
      remove: () => {
        this.#settling = true;
        this.#adder?.stop();
        this.#tellLiving();
        this.#events.removed();
      },
      readmit: () => {
        this.#settling = this.#leaving !== undefined;
        this.#events.readmitted?.();
      },
      alive: () => {},
    };
  }

  #ledger(problem: string | null): void {
    this.#ledgerFails = problem !== null;
    this.#events.ledger?.(problem);
  }

  #welcomed(publicKey: string | null): void {
    this.#accepted = true;
    this.#complaint = "";
    this.#connection.accepted();
    this.#events.log("info", `the manager at ${this.#managers.place} knows this node`);
    this.#events.key(publicKey);
    this.#sendCapacity();
    this.#tellLiving();
    if (!this.#settling && !this.#leaving) this.#adder?.start();
  }

  #tellLiving(): void {
    for (const [lease, report] of this.#living) this.#unsaved.set(lease, report);
    this.#flush();
  }

  #newAdder(fabric: string, counters: OneSidedCounters): LedgerAdder {
    const events: LedgerAdderEvents = {
      fabric,
      connect: (to) => counters.connect(to),
      ask: () => this.#askCounters(fabric),
      bind: (row, lease) => this.#bindRow(row, lease),
      fellBack: () => this.#tellLiving(),
      log: (level, message) => this.#events.log(level, message),
    };
    return new LedgerAdder(events, this.#clock);
  }

  #askCounters(fabric: string): void {
    this.#requests
      .ask(GetCounters, { fabric }, { onReply: (offer) => this.#adder?.offered(offer) })
      .catch((error: Error) => {
        // After a lost connection it is asked anew.
        if (error instanceof RequestRefused) this.#adder?.declined(error.message);
      });
  }

  #bindRow(row: number, lease: string): void {
    this.#requests
      .ask(BindRow, { row, lease }, { onReply: () => this.#adder?.bound(row, lease) })
      // The lease goes on to be reported by message.
      .catch(() => {});
  }

  #lost(reason: Error): void {
    this.#accepted = false;
    this.#events.quotas?.(undefined);
    this.#adder?.stop();
    this.#requests.end(reason);
    // Another node may have taken the name meanwhile; our bills are still ours.
    if (this.#leaving) this.#settling = true;
    if (!this.#refused)
      this.#complain(
        `no connection to the manager at ${this.#managers.place} (${reason.message}); leases and calls go on, and it is tried again`,
      );
    this.#managers.next();
  }

  /** Logs a repeated failure once. */
  #complain(message: string): void {
    if (this.#complaint === message) return;
    this.#complaint = message;
    this.#events.log("warn", message);
  }

  #beat(): void {
    this.#sendCapacity();
  }

  #sendCapacity(): void {
    this.#capacityTimer?.clear();
    this.#capacityTimer = undefined;
    if (this.#accepted) this.#connection.send({ t: "capacity", ...this.#capacity });
  }

  #scheduleFlush(): void {
    const waitMs = this.#flushedAtMs + FLUSH_INTERVAL_MS - this.#clock.nowMs();
    this.#flushTimer ??= this.#clock.after(Math.max(0, waitMs), () => this.#flush());
  }

  /** One batch is in flight at a time; the link sends the next when the manager has confirmed it. */
  #flush(): void {
    this.#flushTimer?.clear();
    this.#flushTimer = undefined;
    if (!this.#accepted || this.#inFlight || this.#unsaved.size === 0) return;
    const reports: UsageReport[] = [];
    for (const report of this.#unsaved.values()) {
      reports.push(report);
      if (reports.length === MAX_PART_ENTRIES) break;
    }
    this.#flushedAtMs = this.#clock.nowMs();
    this.#inFlight = true;
    this.#requests
      .ask(
        ReportUsage,
        { reports },
        { timeoutMs: CONFIRM_LIMIT_MS, onReply: () => this.#saved(reports) },
      )
      .catch(() => {
        this.#inFlight = false;
        this.#flush();
      });
  }

  #saved(reports: readonly UsageReport[]): void {
    this.#inFlight = false;
    for (const report of reports) {
      if (this.#unsaved.get(report.lease) === report) this.#unsaved.delete(report.lease);
      if (this.#living.has(report.lease)) this.#adder?.begin(report.lease);
      this.#events.saved?.(report);
    }
    if (this.#unsaved.size === 0) return this.#onSaved?.();
    if (this.#leaving || reports.length === MAX_PART_ENTRIES) this.#flush();
    else this.#scheduleFlush();
  }

  #boundUnsaved(): void {
    for (const lease of this.#unsaved.keys()) {
      if (this.#unsaved.size <= MAX_UNSAVED) return;
      this.#unsaved.delete(lease);
      if (!this.#full)
        this.#events.log(
          "warn",
          `more than ${MAX_UNSAVED} bills wait for the manager at ${this.#managers.places}; the oldest are lost`,
        );
      this.#full = true;
    }
  }
}

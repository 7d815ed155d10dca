/**
 * Adds the usage of leases to the manager's counters, by remote atomics. Each lease has a row of counters; an add brings the usage
 * since the last one. Where that does not work, or stops working, the node reports the leases by message.
 */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import { COUNTERS_PER_ROW, type CounterLink } from "../../fabric/counters.ts";
import type { CountersOffer } from "../../protocol/manager-messages.ts";
import { USAGE_COUNTERS, type Usage } from "../../protocol/usage.ts";

export interface LedgerAdderEvents {
  /** The fabric over which the node raises the counters, for the log. */
  readonly fabric: string;
  /** Begins to connect. */
  connect(to: CountersOffer): CounterLink;
  /** Asks the manager to set counters aside. */
  ask(): void;
  /** Asks the manager to read the row for the lease from now on, beginning with zeros. */
  bind(row: number, lease: string): void;
  /** The node must report all running leases by message again. */
  fellBack(): void;
  log(level: "info" | "warn", message: string): void;
}

/** How often to look at adds in flight, and at a connection with none in flight. */
const BUSY_INTERVAL_MS = 10;
const IDLE_INTERVAL_MS = 100;
/** Timeout of adds in flight. */
const ADD_LIMIT_MS = 1_000;
const FIRST_DELAY_MS = 1_000;
const MAX_DELAY_MS = 60_000;
/** A longer sum takes several adds; being a power of two, they leave no fraction behind. */
const MOST_IN_AN_ADD = 2 ** 53;

interface Row {
  row: number;
  /** Whether the manager reads it for this lease. */
  bound: boolean;
  /** What was added so far. */
  added: Float64Array<ArrayBuffer>;
  usage: Usage | undefined;
}

export class LedgerAdder {
  readonly #events: LedgerAdderEvents;
  readonly #clock: Clock;
  readonly #leases = new Map<string, Row>();
  /** Rows whose lease has ended, until the adds in flight to them are done. */
  #closing: { row: number; after: number }[] = [];
  #free: number[] = [];
  readonly #deltas = new Float64Array(new ArrayBuffer(8 * COUNTERS_PER_ROW));
  #link: CounterLink | undefined;
  /**
   * The last connection, which failed. It stays open because only a process with a connection hears that its device is to be
   * removed, and a process that does not hear it delays the removal; a removed device shows as a lost connection first.
   */
  #retired: CounterLink | undefined;
  #where = "";
  #ready = false;
  #posted = 0;
  #completed = 0;
  #progressAtMs = 0;
  #timer: Timer | undefined;
  #retry: Timer | undefined;
  #delayMs = FIRST_DELAY_MS;
  #complaint = "";

  constructor(events: LedgerAdderEvents, clock: Clock = SYSTEM_CLOCK) {
    this.#events = events;
    this.#clock = clock;
  }

  /** Adds begun and done over the present connection. */
  get adds(): { posted: number; completed: number } {
    return { posted: this.#posted, completed: this.#completed };
  }

  get connected(): boolean {
    return this.#ready;
  }

  /** The manager is there: asks it for counters. */
  start(): void {
    this.stop();
    this.#delayMs = FIRST_DELAY_MS;
    this.#complaint = "";
    this.#events.ask();
  }

  /** The manager has set counters aside. */
  offered(to: CountersOffer): void {
    this.#disconnect();
    this.#where = `${to.address}:${to.port}`;
    try {
      this.#link = this.#events.connect(to);
    } catch (error) {
      return this.#failed((error as Error).message);
    }
    this.#schedule(BUSY_INTERVAL_MS);
  }

  /** The manager has none. */
  declined(reason: string): void {
    this.#complain("info", `the manager's ledger is told by message: ${reason}`);
    this.#askLater();
  }

  /** The manager has the first report of a running lease: from now on the lease can have a row. */
  begin(lease: string): void {
    if (!this.#ready || this.#leases.has(lease)) return;
    const row = this.#free.pop();
    if (row === undefined) return;
    const added = new Float64Array(new ArrayBuffer(8 * COUNTERS_PER_ROW));
    this.#leases.set(lease, { row, bound: false, added, usage: undefined });
    this.#events.bind(row, lease);
  }

  /** The manager reads the row for the lease. */
  bound(row: number, lease: string): void {
    const known = this.#leases.get(lease);
    if (known?.row === row) known.bound = true;
  }

  /** Adds what a running lease has used so far, and returns true; or false, when the node must report it by message. */
  take(lease: string, usage: Usage): boolean {
    const row = this.#leases.get(lease);
    if (!row?.bound) return false;
    row.usage = usage;
    this.#post(row);
    this.#schedule(BUSY_INTERVAL_MS);
    return true;
  }

  /** The lease has ended; the node reports its final sum by message. */
  end(lease: string): void {
    const row = this.#leases.get(lease);
    if (!row) return;
    this.#leases.delete(lease);
    this.#closing.push({ row: row.row, after: this.#posted });
  }

  /** Adds no more, and does not try again. */
  stop(): void {
    this.#retry?.clear();
    this.#retry = undefined;
    this.#disconnect();
  }

  /** Gives everything back. */
  close(): void {
    this.stop();
    this.#timer?.clear();
    this.#retired?.close();
    this.#retired = undefined;
  }

  #schedule(inMs: number): void {
    this.#timer?.clear();
    this.#timer = this.#clock.after(inMs, () => this.#look());
  }

  #look(): void {
    if (this.#retired?.state.deviceRemoved) {
      this.#retired.close();
      this.#retired = undefined;
    }
    const link = this.#link;
    if (!link) return this.#retired && this.#schedule(IDLE_INTERVAL_MS);
    const completed = link.completed();
    const { state } = link;
    if (state.problem !== undefined) return this.#failed(`${this.#where}: ${state.problem}`);
    const nowMs = this.#clock.nowMs();
    if (!this.#ready && state.ready) this.#opened(state.rows);
    if (completed !== this.#completed || completed === this.#posted) this.#progressAtMs = nowMs;
    this.#completed = completed;
    if (nowMs - this.#progressAtMs > ADD_LIMIT_MS && this.#ready)
      return this.#failed(`adds were not done within ${ADD_LIMIT_MS} ms`);
    this.#closing = this.#closing.filter(({ row, after }) => {
      if (after > completed) return true;
      this.#free.push(row);
      return false;
    });
    for (const row of this.#leases.values()) this.#post(row);
    const busy = !this.#ready || this.#posted > this.#completed;
    this.#schedule(busy ? BUSY_INTERVAL_MS : IDLE_INTERVAL_MS);
  }

  #opened(rows: number): void {
    this.#ready = true;
    this.#delayMs = FIRST_DELAY_MS;
    this.#complaint = "";
    this.#free = Array.from({ length: rows }, (_, i) => rows - 1 - i);
    this.#events.log(
      "info",
      `the manager's ledger is added to over ${this.#events.fabric} at ${this.#where}`,
    );
  }

  #post({ row, usage, added }: Row): void {
    if (!usage) return;
    let changed = false;
    for (const [i, name] of USAGE_COUNTERS.entries()) {
      const delta = Math.min(MOST_IN_AN_ADD, Math.max(0, Math.floor(usage[name]) - added[i]!));
      this.#deltas[i] = delta;
      changed ||= delta > 0;
    }
    if (!changed) return;
    const count = this.#link?.add(row, this.#deltas) ?? null;
    // No room: the next tick tries again, with the usage that has come since.
    if (count === null) return;
    if (this.#posted === this.#completed) this.#progressAtMs = this.#clock.nowMs();
    this.#posted += count;
    for (const [i, delta] of this.#deltas.entries()) added[i]! += delta;
  }

  #failed(reason: string): void {
    this.#disconnect();
    this.#complain("warn", `the manager's ledger is told by message for now: ${reason}`);
    this.#events.fellBack();
    this.#askLater();
  }

  #askLater(): void {
    this.#retry?.clear();
    this.#retry = this.#clock.after(this.#delayMs, () => this.#events.ask());
    this.#delayMs = Math.min(MAX_DELAY_MS, 2 * this.#delayMs);
  }

  #disconnect(): void {
    this.#timer?.clear();
    const link = this.#link;
    this.#link = undefined;
    if (link) {
      if (this.#ready)
        this.#events.log(
          "info",
          `adds to the manager's ledger at ${this.#where}: ${this.#posted} begun, ${this.#completed} done`,
        );
      this.#retire(link);
    }
    this.#ready = false;
    this.#posted = 0;
    this.#completed = 0;
    this.#leases.clear();
    this.#closing = [];
    this.#free = [];
    if (this.#retired) this.#schedule(IDLE_INTERVAL_MS);
  }

  #retire(link: CounterLink): void {
    const removed = link.state.deviceRemoved;
    // A connection that was never made may not know of a device.
    if (removed || (this.#retired && !this.#ready)) return link.close();
    this.#retired?.close();
    this.#retired = link;
  }

  /** Logs a repeated failure once. */
  #complain(level: "info" | "warn", message: string): void {
    if (this.#complaint === message) return;
    this.#complaint = message;
    this.#events.log(level, message);
  }
}

/**
 * The manager's end of remote counters: memory for each node that can add to it over a fabric that has counters, and reading it.
 * Without such a fabric there is none, and nodes report by message.
 */
import { type Clock, SYSTEM_CLOCK, type Timer } from "../../base/clock.ts";
import type { CounterPort, CounterSet, OneSidedCounters } from "../../fabric/counters.ts";
import { type FabricName, counting } from "../../fabric/registry.ts";
import type { CountersOffer, UsageReport } from "../../protocol/manager-messages.ts";
import { CounterRows } from "./counter-rows.ts";

export interface RemoteCountersEvents {
  /** What leases have used so far, as their counters say. */
  usage(reports: readonly UsageReport[]): void;
  log(level: "info" | "warn", message: string): void;
}

/** Counters are read this often. */
const READ_INTERVAL_MS = 50;
/** A node that was offered counters connects within this time. */
const CONNECT_LIMIT_MS = 15_000;
/** The least number of rows: they fill a page. */
const ROWS_PER_PAGE = 64;

interface NodeCounters {
  readonly node: string;
  readonly fabric: FabricName;
  readonly port: CounterPort;
  readonly counters: CounterSet;
  readonly rows: CounterRows;
  readonly offeredAtMs: number;
  connected: boolean;
}

/** The owner of counters: a node's connection. */
type Owner = object;

export class RemoteCounters {
  readonly #events: RemoteCountersEvents;
  readonly #ports = new Map<string, CounterPort>();
  readonly #sets = new Map<Owner, NodeCounters>();
  readonly #clock: Clock;
  /** Undefined until the first counters are set aside. */
  #timer: Timer | undefined;

  constructor(events: RemoteCountersEvents, clock: Clock = SYSTEM_CLOCK) {
    this.#events = events;
    this.#clock = clock;
  }

  /** In words for the log: where nodes can add, or why they cannot. */
  static describe(): string {
    const problems: string[] = [];
    for (const { name, title, counters } of counting)
      try {
        const addresses = counters.addresses().join(", ");
        return `nodes with ${title} add to the ledger over ${name}, at ${addresses}`;
      } catch (error) {
        problems.push((error as Error).message);
      }
    return `nodes tell the ledger by message: ${problems.join("; ")}`;
  }

  /**
   * Sets counters aside for a node that reached us at `reachedAt`, adds over the `fabric` and has at most `leases` at a time. Returns
   * where they are, or why there are none.
   */
  offer(
    owner: Owner,
    node: string,
    reachedAt: string | undefined,
    fabric: string,
    leases: number,
  ): Omit<CountersOffer, "t"> | { reason: string } {
    this.forget(owner);
    try {
      const way = counting.find(({ name }) => name === fabric);
      if (!way) return { reason: `the manager has no counters over ${fabric}` };
      const addresses = way.counters.addresses();
      // The device that the node's own way leads to comes first.
      const address = addresses.find((one) => one === reachedAt) ?? addresses[0]!;
      const port = this.#portAt(way.counters, way.name, address);
      const nonce = crypto.getRandomValues(new Uint8Array(16));
      // A lease that has ended may keep its row for a moment.
      const counters = port.open(nonce, ROWS_PER_PAGE * Math.ceil((2 * leases) / ROWS_PER_PAGE));
      const rows = new CounterRows(counters);
      const offeredAtMs = this.#clock.nowMs();
      this.#timer ??= this.#clock.every(READ_INTERVAL_MS, () => this.#read());
      const { name } = way;
      this.#sets.set(owner, {
        node,
        fabric: name,
        port,
        counters,
        rows,
        offeredAtMs,
        connected: false,
      });
      return { address, port: port.port, nonce };
    } catch (error) {
      return { reason: (error as Error).message };
    }
  }

  /** The row is the lease's from now on. False when it cannot be. */
  bind(owner: Owner, row: number, report: UsageReport): boolean {
    return this.#sets.get(owner)?.rows.bind(row, report) ?? false;
  }

  /** The node has sent the lease's last report by message. */
  unbind(owner: Owner, lease: string): void {
    this.#sets.get(owner)?.rows.unbind(lease);
  }

  /** Over which fabric the node adds now, if it does, and how often a counter was found higher since it connected. */
  stateOf(owner: Owner): { fabric: FabricName | undefined; rises: number } {
    const set = this.#sets.get(owner);
    return { fabric: set?.connected ? set.fabric : undefined, rises: set?.rows.rises ?? 0 };
  }

  /** Frees the node's counters; what it has added stays in the ledger. */
  forget(owner: Owner): void {
    const set = this.#sets.get(owner);
    if (!set) return;
    this.#readSet(set);
    this.#sets.delete(owner);
    set.counters.close();
  }

  close(): void {
    this.#timer?.clear();
    for (const set of this.#sets.values()) this.#readSet(set);
    this.#sets.clear();
    for (const port of this.#ports.values()) port.close();
    this.#ports.clear();
  }

  #portAt(counters: OneSidedCounters, fabric: FabricName, address: string): CounterPort {
    const place = `${fabric} ${address}`;
    let port = this.#ports.get(place);
    if (!port) this.#ports.set(place, (port = counters.listen(address)));
    return port;
  }

  #read(): void {
    this.#dropPorts();
    for (const [owner, set] of this.#sets) {
      const { node, fabric, counters, offeredAtMs } = set;
      const { state } = counters;
      if (state === "connected" && !set.connected) {
        set.connected = true;
        this.#events.log("info", `node ${node} adds to the ledger over ${fabric}`);
      }
      this.#readSet(set);
      const late = state === "awaited" && this.#clock.nowMs() - offeredAtMs > CONNECT_LIMIT_MS;
      if (state !== "lost" && !late) continue;
      const what = late ? "has not connected to its counters" : "adds to the ledger no more";
      this.#events.log("info", `node ${node} ${what}`);
      this.forget(owner);
    }
  }

  #readSet({ rows }: NodeCounters): void {
    const reports = rows.read();
    if (reports.length > 0) this.#events.usage(reports);
  }

  /** The kernel removes a device only when every process has closed it, so the manager closes it at once. */
  #dropPorts(): void {
    for (const [place, port] of this.#ports) {
      if (port.sound) continue;
      this.#events.log("warn", `the device of ${place} was removed; nodes report by message`);
      for (const [owner, set] of this.#sets) if (set.port === port) this.forget(owner);
      this.#ports.delete(place);
      port.close();
    }
  }
}

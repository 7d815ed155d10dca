/**
 * The last bill of each lease, in etcd: written by the leader before its node hears that it is kept, read by every manager into its own
 * ledger. Bills that are some seconds old are put together in records of a hundred, and a record goes once the ledgers of all managers have it; the
 * last one stays, since the next one's number follows its.
 */
import { gunzipSync, gzipSync } from "node:zlib";
import { Value } from "@sinclair/typebox/value";
import { Type } from "@sinclair/typebox";
import { UsageReport } from "../../../protocol/manager-messages.ts";
import type { FinalBill, StateOptions } from "../cluster-state.ts";
import { type Condition, type Etcd, MAX_OPERATIONS } from "./client.ts";

/** Of a record, which is one transaction with a condition for each of them, and for the leader. */
const BILLS_A_RECORD = MAX_OPERATIONS - 1;
/** Those are left alone that other managers may be reading. */
const COMPACT_AFTER_MS = 5_000;
const MAX_UNPACKED_BYTES = 2 ** 24;
const NOTE = "etcd";
/** Records are numbered so that their order is that of their keys. */
const DIGITS = 12;
const RECORDS_A_TIME = 50;

const Bill = Type.Composite([
  UsageReport,
  Type.Object({ presumed: Type.Optional(Type.Literal(true)) }),
]);

/** How far this manager has read: of which etcd, to which revision and which record. */
const Position = Type.Object({
  store: Type.String(),
  after: Type.Integer({ minimum: 0 }),
  record: Type.Integer({ minimum: 0 }),
});
const BEGIN = { store: "", after: 0, record: 0 };

export interface BillEvents {
  /** Puts bills into the ledger. Throws where it cannot. */
  record(bills: readonly FinalBill[]): void;
  warn(message: string): void;
}

export class BillLog {
  readonly #etcd: Etcd;
  readonly #prefix: string;
  readonly #notes: StateOptions["notes"];
  readonly #record: BillEvents["record"];
  readonly #warn: BillEvents["warn"];
  #position: typeof BEGIN | undefined;
  /** Revisions that were seen, and when: those of some time ago may be compacted. */
  #seen: { revision: number; atMs: number } | undefined;
  #compactTo = 0;
  /** Records up to this one are gone. */
  #forgotten = 0;

  constructor(
    etcd: Etcd,
    prefix: string,
    notes: StateOptions["notes"],
    { record, warn }: BillEvents,
  ) {
    this.#etcd = etcd;
    this.#prefix = prefix;
    this.#notes = notes;
    this.#record = record;
    this.#warn = warn;
  }

  /** The last record that the ledger has, with all before it. */
  get stored(): number {
    return this.#position?.record ?? 0;
  }

  /** Resolves once the bills are in etcd, to whether they are: not where the condition does not hold. */
  async keep(bills: readonly FinalBill[], leads: Condition): Promise<boolean> {
    for (let from = 0; from < bills.length; from += MAX_OPERATIONS) {
      const puts = bills.slice(from, from + MAX_OPERATIONS).map((bill) => ({
        put: this.#billKey(bill.lease),
        value: JSON.stringify(bill),
      }));
      const revision = await this.#etcd.transact([leads], puts);
      if (revision === undefined) return false;
      // It has read all before, and only the leader writes.
      if (this.#position) this.#position = { ...this.#position, after: revision };
    }
    return true;
  }

  /** Records what this manager has not read yet. Rejects where etcd, or the ledger, cannot be used. */
  async follow(): Promise<void> {
    const { store, revision } = await this.#etcd.range(`${this.#prefix}/past/`);
    let position = (this.#position ??= this.#recalled());
    const isNew = position.store === "";
    // Another etcd, or one that was brought back from a backup.
    const isOther = !isNew && (position.store !== store || position.after > revision);
    if (isNew || isOther) position = { ...BEGIN, store };
    const { keys, revision: after } = await this.#etcd.range(`${this.#prefix}/bills/`, {
      prefix: true,
      after: position.after,
    });
    if (keys.length > 0) this.#record(keys.flatMap(({ value }) => readBills(`[${value}]`)));
    // After the single ones: those that are put together meanwhile are in a record.
    const { last: record, missing } = await this.#readRecords(position.record);
    if (missing > 0 && !isOther)
      this.#warn(
        `this ledger lacks the bills of ${missing * BILLS_A_RECORD} leases, which etcd has no more since the ledgers of the other managers have them: stop both managers, copy ledger.sqlite from the other's state directory to this one's, and start them; leases go on meanwhile`,
      );
    const isMore = keys.length > 0 || record !== position.record || position.after === 0;
    this.#position = { store, after, record };
    if (isMore) this.#notes.remember(NOTE, JSON.stringify(this.#position));
  }

  /** Puts bills together that are old enough. */
  async compact(leads: Condition, nowMs: number): Promise<void> {
    const found = await this.#etcd.range(`${this.#prefix}/bills/`, {
      prefix: true,
      limit: BILLS_A_RECORD,
      order: { by: "MOD" },
    });
    if (!this.#seen || nowMs - this.#seen.atMs >= COMPACT_AFTER_MS) {
      this.#compactTo = this.#seen?.revision ?? 0;
      this.#seen = { revision: found.revision, atMs: nowMs };
    }
    const old = found.keys.filter(({ modRevision }) => modRevision <= this.#compactTo);
    if (old.length < BILLS_A_RECORD) return;
    const last = await this.#lastRecord();
    const next = last + 1;
    const value = gzipSync(`[${old.map(({ value: text }) => text.toString()).join(",")}]`);
    const done = await this.#etcd.transact(
      [leads, ...old.map(({ key, modRevision }) => ({ key, modRevision }))],
      [{ put: this.#recordKey(next), value }, ...old.map(({ key }) => ({ del: key }))],
    );
    if (done === undefined || this.#position?.record !== last) return;
    this.#position = { ...this.#position, record: next };
    this.#notes.remember(NOTE, JSON.stringify(this.#position));
  }

  /** Removes records that all managers have, up to this one. */
  async forget(leads: Condition, upTo: number): Promise<void> {
    const to = Math.min(upTo, this.stored - 1);
    if (to <= this.#forgotten) return;
    const { keys } = await this.#etcd.range(`${this.#prefix}/past/`, {
      ...{ prefix: true, limit: MAX_OPERATIONS, keysOnly: true, order: { by: "KEY" } },
    });
    const old = keys.filter(({ key }) => numberOf(key) <= to);
    const removals = old.map(({ key }) => ({ del: key }));
    if (old.length > 0 && (await this.#etcd.transact([leads], removals)) === undefined) return;
    if (old.length < MAX_OPERATIONS) this.#forgotten = to;
  }

  async #lastRecord(): Promise<number> {
    const order = { by: "KEY", descend: true } as const;
    const { keys } = await this.#etcd.range(`${this.#prefix}/past/`, {
      ...{ prefix: true, limit: 1, order },
    });
    return keys[0] ? numberOf(keys[0].key) : 0;
  }

  /** Resolves to the last one that there is, and how many since `after` are gone. */
  async #readRecords(after: number): Promise<{ last: number; missing: number }> {
    const last = await this.#lastRecord();
    let done = after;
    let missing = 0;
    while (done < last) {
      const upTo = Math.min(last, done + RECORDS_A_TIME);
      const bills: FinalBill[] = [];
      for (let n = done + 1; n <= upTo; n++) {
        const [found] = (await this.#etcd.range(this.#recordKey(n))).keys;
        if (!found) missing++;
        if (!found) continue;
        const text = gunzipSync(found.value, { maxOutputLength: MAX_UNPACKED_BYTES }).toString();
        bills.push(...readBills(text));
      }
      this.#record(bills);
      done = upTo;
    }
    return { last, missing };
  }

  #recalled(): typeof BEGIN {
    try {
      const noted: unknown = JSON.parse(this.#notes.recall(NOTE) ?? "null");
      return Value.Check(Position, noted) ? noted : BEGIN;
    } catch {
      return BEGIN;
    }
  }

  #billKey(lease: string): string {
    return `${this.#prefix}/bills/${lease}`;
  }

  #recordKey(n: number): string {
    return `${this.#prefix}/past/${String(n).padStart(DIGITS, "0")}`;
  }
}

const numberOf = (key: string): number => Number(key.slice(-DIGITS)) || 0;

/** What is no bill is left out: who can write to etcd may write anything. */
function readBills(text: string): FinalBill[] {
  try {
    const read: unknown = JSON.parse(text);
    return Array.isArray(read)
      ? read.filter((one): one is FinalBill => Value.Check(Bill, one))
      : [];
  } catch {
    return [];
  }
}

/**
 * The ledger: what every lease used, by whom, in one SQLite file.
 *
 * A report is cumulative, so recording it again, late or out of order changes nothing: counters only rise, and an end is final.
 * Once {@link Ledger.record} has returned, its batch survives the death of this process at any moment (it is in the kernel's
 * page cache, in a write-ahead log whose frames are checksummed). A batch in which a lease ends survives a power failure as well:
 * it is on the disk before `record` returns, and with it all that was recorded before. Running totals recorded since then may be
 * lost with the power; the node's next report brings them back. A lease stays that of its first node and user, whatever others report. A batch is recorded whole or not at all.
 */
import { Database, SQLiteError, type Statement } from "bun:sqlite";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { LedgerUnavailable } from "../../base/errors.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";
import { NODE_LOST } from "../../protocol/usage.ts";
import { syncDirectory } from "../../trust/files.ts";
import {
  ADOPT,
  BILL,
  BUSY_TIMEOUT_MS,
  COUNTERS,
  COUNTER_NAMES,
  type Counter,
  LIVE,
  NOTES,
  PRESUME_END,
  SUM_UNIT,
  UPSERT,
  USED_SINCE,
  checkKind,
  damaged,
  prepare,
} from "./schema.ts";

const MAX_INTEGER = 2n ** 63n - 1n;

export interface BillQuery {
  user?: string | undefined;
  /** Of this project alone. */
  project?: string | undefined;
  /** Leases that started at this moment or later. */
  sinceMs?: number | undefined;
  /** Leases that started before this moment. */
  untilMs?: number | undefined;
}

/** What one user's leases used for one project. Exact: a sum over many leases is soon more than a number holds. */
export interface BillRow extends Record<Counter, bigint> {
  user: string;
  /** Null for leases of none. */
  project: string | null;
  leases: number;
  /** Of these, how many have not ended; what they used may still rise. */
  live: number;
  /** Of these, how many have an end that is presumed: their node is lost, and what they used since it reported last is unknown. */
  presumed: number;
}

type Row = Record<string, string | number | null>;
type BigRow = Record<string, string | bigint | null>;
type Parameters = Record<string, string | number | bigint | null>;

export class Ledger implements Disposable {
  readonly #db: Database;
  readonly #path: string;
  readonly #upsert: Statement<unknown, [Parameters]>;
  #durable: boolean | undefined;
  #failure: LedgerUnavailable | null = null;

  private constructor(db: Database, path: string) {
    this.#db = db;
    this.#path = path;
    this.#upsert = db.query<unknown, [Parameters]>(UPSERT);
  }

  /**
   * Opens the ledger, makes it when it is not there, and checks it as a whole.
   *
   * @throws {LedgerUnavailable} when it cannot be opened, is damaged, or is something else.
   */
  static open(path: string): Ledger {
    return guarded(path, "opened", () => {
      const fresh = !existsSync(path);
      const db = new Database(path, { create: true, readwrite: true, strict: true });
      try {
        prepare(db, path);
        if (fresh) syncDirectory(dirname(path));
        return new Ledger(db, path);
      } catch (error) {
        db.close();
        throw error;
      }
    });
  }

  /** Opens a ledger that a manager may be writing, to read it only. Throws {@link LedgerUnavailable}. */
  static openToRead(path: string): Ledger {
    if (!existsSync(path))
      throw new LedgerUnavailable(
        `there is no ledger at ${path}; name the manager's state directory with --state DIR, or ask the manager with --http URL`,
      );
    return guarded(path, "opened", () => {
      const db = new Database(path, { readonly: true, strict: true });
      try {
        db.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
        checkKind(db, path);
        return new Ledger(db, path);
      } catch (error) {
        db.close();
        throw error;
      }
    });
  }

  /** Why the last batch could not be recorded; null when it was. */
  get failure(): LedgerUnavailable | null {
    return this.#failure;
  }

  /**
   * Records a batch: all of it, or nothing.
   *
   * @throws {LedgerUnavailable} when the disk is full or fails. Keep the reports, or let the nodes send them again.
   */
  record(reports: readonly UsageReport[]): void {
    if (reports.length === 0) return;
    try {
      guarded(this.#path, "written", () => {
        this.#setDurable(reports.some(({ endedAtMs }) => endedAtMs !== null));
        this.#db
          .transaction(() => {
            for (const report of reports) this.#upsert.run(parameters(report));
          })
          .immediate();
      });
      this.#failure = null;
    } catch (error) {
      if (error instanceof LedgerUnavailable) this.#failure = error;
      throw error;
    }
  }

  /**
   * Takes over last bills as other managers have them, in the place of what was recorded of these leases: all of them, or nothing. What this manager
   * has heard while they ran may be of a later moment, and is not on the bill that was settled.
   *
   * @throws {LedgerUnavailable}
   */
  adopt(bills: readonly (UsageReport & { presumed?: true })[]): void {
    if (bills.length === 0) return;
    guarded(this.#path, "written", () => {
      this.#setDurable(true);
      const adopt = this.#db.query<unknown, [Parameters]>(ADOPT);
      this.#db
        .transaction(() => {
          for (const { presumed = false, ...bill } of bills)
            adopt.run({ ...parameters(bill), presumed: Number(presumed) });
        })
        .immediate();
    });
  }

  /**
   * A row for each user and project. A lease counts whole in the period in which it started, so that periods side by side bill each once.
   *
   * @throws {LedgerUnavailable}
   */
  bill({ user, project, sinceMs, untilMs }: BillQuery = {}): BillRow[] {
    return guarded(this.#path, "read", () =>
      this.#db
        .query<BigRow, [Parameters]>(BILL)
        .safeIntegers(true)
        .all({
          user: user ?? null,
          project: project ?? null,
          since: sinceMs ?? 0,
          until: untilMs ?? Number.MAX_SAFE_INTEGER,
        })
        .map(toBillRow),
    );
  }

  /** What leases of a user have cost in core-nanoseconds since then, also those that began before. Throws {@link LedgerUnavailable}. */
  usedCoreNs(user: string, sinceMs: number): number {
    return guarded(this.#path, "read", () => {
      const query = this.#db.query<{ seconds: number | null }, [Parameters]>(USED_SINCE);
      return (query.get({ user, since: Math.floor(sinceMs) })?.seconds ?? 0) * 1e9;
    });
  }

  /** The latest report of every lease that has not ended. */
  live(): UsageReport[] {
    return guarded(this.#path, "read", () => this.#db.query<Row, []>(LIVE).all().map(toReport));
  }

  /** What is known of a lease, and whether its end is presumed; undefined where nothing is. Throws {@link LedgerUnavailable}. */
  get(lease: string): (UsageReport & { presumed?: true }) | undefined {
    return guarded(this.#path, "read", () => {
      const row = this.#db
        .query<Row, [string]>("SELECT * FROM lease_usage WHERE lease = ?")
        .get(lease);
      if (!row) return undefined;
      return { ...toReport(row), ...(row["presumed"] ? { presumed: true } : {}) };
    });
  }

  /**
   * Ends leases that no node reports any more, with what is known of them: marked, so that a report which comes all the same
   * takes the place of the end.
   *
   * @throws {LedgerUnavailable}
   */
  presumeEnded(leases: readonly string[]): void {
    guarded(this.#path, "written", () => {
      this.#setDurable(true);
      const presume = this.#db.query<unknown, [Parameters]>(PRESUME_END);
      this.#db
        .transaction(() => {
          for (const lease of leases) presume.run({ lease, reason: NODE_LOST });
        })
        .immediate();
    });
  }

  /** What was noted under this name; undefined where nothing was. Throws {@link LedgerUnavailable}. */
  recall(name: string): string | undefined {
    return guarded(this.#path, "read", () => {
      this.#db.run(NOTES);
      return this.#db
        .query<{ text: string }, [string]>("SELECT text FROM notes WHERE name = ?")
        .get(name)?.text;
    });
  }

  /** Notes beside the bills, as durable as these. Throws {@link LedgerUnavailable}. */
  remember(name: string, text: string): void {
    guarded(this.#path, "written", () => {
      this.#db.run(NOTES);
      this.#db.run("INSERT OR REPLACE INTO notes (name, text) VALUES (?, ?)", [name, text]);
    });
  }

  close(): void {
    this.#db.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #setDurable(durable: boolean): void {
    if (this.#durable === durable) return;
    this.#db.run(`PRAGMA synchronous = ${durable ? "FULL" : "NORMAL"}`);
    this.#durable = durable;
  }
}

function parameters(report: UsageReport): Parameters {
  const { lease, node, user, workers, coresPerWorker = 1, project = null } = report;
  const { startedAtMs, endedAtMs, reason, usage } = report;
  const counters = COUNTER_NAMES.map((name) => [name, whole(usage[name])]);
  return {
    ...{ lease, node, user, workers, coresPerWorker, project, reason },
    startedAtMs: whole(startedAtMs),
    endedAtMs: endedAtMs === null ? null : whole(endedAtMs),
    ...Object.fromEntries(counters),
  };
}

/** As a column holds it: a peer may send fractions, and more than 64 bits. */
function whole(value: number): bigint {
  const integer = BigInt(Math.floor(value));
  return integer < MAX_INTEGER ? integer : MAX_INTEGER;
}

function toReport(row: Row): UsageReport {
  const { lease, node, user, workers, started_at_ms, ended_at_ms, reason, project } = row;
  const coresPerWorker = row["cores_per_worker"];
  const usage = Object.fromEntries(COUNTER_NAMES.map((name) => [name, row[COUNTERS[name]]]));
  return {
    ...{ lease, node, user, workers, startedAtMs: started_at_ms, endedAtMs: ended_at_ms, reason },
    ...(coresPerWorker === 1 ? {} : { coresPerWorker }),
    ...(project === null ? {} : { project }),
    usage,
  } as UsageReport;
}

function toBillRow(row: BigRow): BillRow {
  const sums = Object.fromEntries(
    COUNTER_NAMES.map((name) => {
      const column = COUNTERS[name];
      const high = row[`${column}_high`] as bigint;
      return [name, high * SUM_UNIT + (row[`${column}_low`] as bigint)];
    }),
  ) as Record<Counter, bigint>;
  return {
    user: row["user"] as string,
    project: row["project"] as string | null,
    leases: Number(row["leases"]),
    live: Number(row["live"]),
    presumed: Number(row["presumed"]),
    ...sums,
  };
}

/** Runs `use`; turns failures of the file or the disk into {@link LedgerUnavailable}, and lets defects of ours pass. */
function guarded<T>(path: string, verb: "opened" | "read" | "written", use: () => T): T {
  try {
    return use();
  } catch (error) {
    const { code = "" } = error as { code?: string };
    if (!(error instanceof SQLiteError) || /^SQLITE_(CONSTRAINT|ERROR|MISUSE|RANGE)/.test(code))
      throw error;
    if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) throw damaged(path, error.message, error);
    throw new LedgerUnavailable(
      `the ledger ${path} cannot be ${verb}: ${error.message} (${code}); ${remedy(code)}`,
      { cause: error },
    );
  }
}

function remedy(code: string): string {
  if (/^SQLITE_(FULL|IOERR)/.test(code))
    return "nothing that was recorded is lost; make room on its disk, or see whether the disk fails";
  if (/^SQLITE_(BUSY|LOCKED)/.test(code)) return "another process holds it; end that one";
  return "see that the file and its directory belong to you and can be written, or name another with --state DIR";
}

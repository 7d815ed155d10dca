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
import type { Usage, UsageReport } from "../../protocol/manager-messages.ts";
import { syncDirectory } from "../../trust/files.ts";

/** "rfaa": marks the file as a ledger. */
const APPLICATION_ID = 0x72666161;
const SCHEMA_VERSION = 1;
/** How long to wait for another process, such as a backup, that holds the file. */
const BUSY_TIMEOUT_MS = 5000;
/** Sums are taken in two parts: 2^63 ns are only 292 core-years. */
const SUM_UNIT = 1_000_000_000n;
const MAX_INTEGER = 2n ** 63n - 1n;

const COUNTERS = {
  allocationCoreNs: "allocation_core_ns",
  executionNs: "execution_ns",
  pollingNs: "polling_ns",
  calls: "calls",
  bytes: "bytes",
} as const satisfies Record<keyof Usage, string>;
type Counter = keyof typeof COUNTERS;
const COUNTER_NAMES = Object.keys(COUNTERS) as Counter[];
const COLUMNS = Object.values(COUNTERS);

const CREATE = `
  CREATE TABLE lease_usage (
    lease TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    user TEXT NOT NULL,
    workers INTEGER NOT NULL,
    started_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    reason TEXT,
    ${COLUMNS.map((column) => `${column} INTEGER NOT NULL CHECK (${column} >= 0)`).join(", ")}
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX lease_usage_by_start ON lease_usage (started_at_ms);
  CREATE INDEX lease_usage_live ON lease_usage (lease) WHERE ended_at_ms IS NULL;
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};`;

const UPSERT = `
  INSERT INTO lease_usage (lease, node, user, workers, started_at_ms, ended_at_ms, reason, ${COLUMNS.join(", ")})
  VALUES ($lease, $node, $user, $workers, $startedAtMs, $endedAtMs, $reason, ${COUNTER_NAMES.map((name) => `$${name}`).join(", ")})
  ON CONFLICT (lease) DO UPDATE SET
    workers = max(workers, excluded.workers),
    ended_at_ms = coalesce(ended_at_ms, excluded.ended_at_ms),
    reason = coalesce(reason, excluded.reason),
    ${COLUMNS.map((column) => `${column} = max(${column}, excluded.${column})`).join(", ")}
  WHERE node = excluded.node AND user = excluded.user`;

const BILL = `
  SELECT user, count(*) AS leases, sum(ended_at_ms IS NULL) AS live,
    ${COLUMNS.map((column) => `sum(${column} / ${SUM_UNIT}) AS ${column}_high, sum(${column} % ${SUM_UNIT}) AS ${column}_low`).join(", ")}
  FROM lease_usage
  WHERE started_at_ms >= $since AND started_at_ms < $until AND ($user IS NULL OR user = $user)
  GROUP BY user ORDER BY user`;

const LIVE = `SELECT * FROM lease_usage WHERE ended_at_ms IS NULL ORDER BY started_at_ms, lease`;

export interface BillQuery {
  user?: string | undefined;
  /** Leases that started at this moment or later. */
  sinceMs?: number | undefined;
  /** Leases that started before this moment. */
  untilMs?: number | undefined;
}

/** What one user's leases used. Exact: a sum over many leases is soon more than a number holds. */
export interface BillRow extends Record<Counter, bigint> {
  user: string;
  leases: number;
  /** Of these, how many have not ended; what they used may still rise. */
  live: number;
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
   * A row for each user. A lease counts whole in the period in which it started, so that periods side by side bill each once.
   *
   * @throws {LedgerUnavailable}
   */
  bill({ user, sinceMs, untilMs }: BillQuery = {}): BillRow[] {
    return guarded(this.#path, "read", () =>
      this.#db
        .query<BigRow, [Parameters]>(BILL)
        .safeIntegers(true)
        .all({
          user: user ?? null,
          since: sinceMs ?? 0,
          until: untilMs ?? Number.MAX_SAFE_INTEGER,
        })
        .map(toBillRow),
    );
  }

  /** The latest report of every lease that has not ended. */
  live(): UsageReport[] {
    return guarded(this.#path, "read", () => this.#db.query<Row, []>(LIVE).all().map(toReport));
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

function prepare(db: Database, path: string): void {
  db.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  const mode = pragma(db, "journal_mode = WAL");
  if (mode !== "wal")
    throw new LedgerUnavailable(
      `the ledger ${path} cannot have a write-ahead log where it is; put the state directory on a local disk (--state DIR)`,
    );
  db.transaction(() => {
    if (isEmpty(db)) db.run(CREATE);
  }).immediate();
  checkKind(db, path);
  const state = pragma(db, "integrity_check(1)");
  if (state !== "ok") throw damaged(path, String(state));
}

function checkKind(db: Database, path: string): void {
  if (pragma(db, "application_id") !== APPLICATION_ID)
    throw new LedgerUnavailable(
      `${path} is another program's database; move it away, or name another state directory with --state DIR`,
    );
  const version = Number(pragma(db, "user_version"));
  if (version !== SCHEMA_VERSION)
    throw new LedgerUnavailable(
      `the ledger ${path} has the layout ${version} and this version of rfaas knows ${SCHEMA_VERSION}; use the rfaas that wrote it, or a newer one`,
    );
}

function isEmpty(db: Database): boolean {
  return db.query("SELECT 1 FROM sqlite_schema LIMIT 1").get() === null;
}

function pragma(db: Database, what: string): unknown {
  return db.query<Record<string, unknown>, []>(`PRAGMA ${what}`).values()[0]?.[0];
}

function parameters({ usage, coresPerWorker: _, ...report }: UsageReport): Parameters {
  const { startedAtMs, endedAtMs } = report;
  const counters = COUNTER_NAMES.map((name) => [name, whole(usage[name])]);
  return {
    ...report,
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
  const { lease, node, user, workers, started_at_ms, ended_at_ms, reason } = row;
  const usage = Object.fromEntries(COUNTER_NAMES.map((name) => [name, row[COUNTERS[name]]]));
  return {
    ...{ lease, node, user, workers, startedAtMs: started_at_ms, endedAtMs: ended_at_ms, reason },
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
    leases: Number(row["leases"]),
    live: Number(row["live"]),
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

function damaged(path: string, what: string, cause?: unknown): LedgerUnavailable {
  return new LedgerUnavailable(
    `the ledger ${path} is damaged: ${what}; stop the manager, keep a copy of the file and its -wal, then restore a backup or move it away`,
    { cause },
  );
}

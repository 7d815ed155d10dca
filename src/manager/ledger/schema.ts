/** How a ledger lies in its SQLite file: one table, what is asked of it, and how a file of an earlier layout is brought up to date. */
import type { Database } from "bun:sqlite";
import { LedgerUnavailable } from "../../base/errors.ts";
import type { Usage } from "../../protocol/manager-messages.ts";
import { NODE_LOST } from "../../protocol/usage.ts";

/** "rfaa": marks the file as a ledger. */
const APPLICATION_ID = 0x72666161;
const SCHEMA_VERSION = 2;
/** How long to wait for another process, such as a backup, that holds the file. */
export const BUSY_TIMEOUT_MS = 5000;
/** Sums are taken in two parts: 2^63 ns are only 292 core-years. */
export const SUM_UNIT = 1_000_000_000n;

export const COUNTERS = {
  allocationCoreNs: "allocation_core_ns",
  executionNs: "execution_ns",
  pollingNs: "polling_ns",
  calls: "calls",
  bytes: "bytes",
} as const satisfies Record<keyof Usage, string>;
export type Counter = keyof typeof COUNTERS;
export const COUNTER_NAMES = Object.keys(COUNTERS) as Counter[];
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
    cores_per_worker INTEGER NOT NULL DEFAULT 1,
    project TEXT,
    presumed INTEGER NOT NULL DEFAULT 0,
    ${COLUMNS.map((column) => `${column} INTEGER NOT NULL CHECK (${column} >= 0)`).join(", ")}
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX lease_usage_by_start ON lease_usage (started_at_ms);
  CREATE INDEX lease_usage_live ON lease_usage (lease) WHERE ended_at_ms IS NULL;
  PRAGMA application_id = ${APPLICATION_ID};
  PRAGMA user_version = ${SCHEMA_VERSION};`;

/** What each layout lacked that came before the one with its number. */
const UPGRADES: Readonly<Record<number, string>> = {
  2: `
    ALTER TABLE lease_usage ADD COLUMN cores_per_worker INTEGER NOT NULL DEFAULT 1;
    ALTER TABLE lease_usage ADD COLUMN project TEXT;
    ALTER TABLE lease_usage ADD COLUMN presumed INTEGER NOT NULL DEFAULT 0;`,
};

/** What a node that was killed has left may be older than what the manager had heard: the lease was held as long as its cores. */
const ENDED = `iif(excluded.reason = '${NODE_LOST}', max(excluded.ended_at_ms,
  started_at_ms + max(allocation_core_ns, excluded.allocation_core_ns) / (max(workers, 1) * max(cores_per_worker, 1)) / 1000000),
  excluded.ended_at_ms)`;

/** A presumed end is none: what the node says of the lease takes its place. */
export const UPSERT = `
  INSERT INTO lease_usage (lease, node, user, workers, cores_per_worker, project, started_at_ms, ended_at_ms, reason, ${COLUMNS.join(", ")})
  VALUES ($lease, $node, $user, $workers, $coresPerWorker, $project, $startedAtMs, $endedAtMs, $reason, ${COUNTER_NAMES.map((name) => `$${name}`).join(", ")})
  ON CONFLICT (lease) DO UPDATE SET
    workers = max(workers, excluded.workers),
    ended_at_ms = iif(presumed, ${ENDED}, coalesce(ended_at_ms, ${ENDED})),
    reason = iif(presumed, excluded.reason, coalesce(reason, excluded.reason)),
    presumed = 0,
    ${COLUMNS.map((column) => `${column} = max(${column}, excluded.${column})`).join(", ")}
  WHERE node = excluded.node AND user = excluded.user`;

/** What managers have agreed on, whatever this one had heard besides; an end that is presumed is not agreed on where this one knows better. */
export const ADOPT = `
  INSERT INTO lease_usage (lease, node, user, workers, cores_per_worker, project, started_at_ms, ended_at_ms, reason, presumed, ${COLUMNS.join(", ")})
  VALUES ($lease, $node, $user, $workers, $coresPerWorker, $project, $startedAtMs, $endedAtMs, $reason, $presumed, ${COUNTER_NAMES.map((name) => `$${name}`).join(", ")})
  ON CONFLICT (lease) DO UPDATE SET
    ${["node", "user", "workers", "cores_per_worker", "project", "started_at_ms", "ended_at_ms", "reason", "presumed", ...COLUMNS].map((column) => `${column} = excluded.${column}`).join(", ")}
  WHERE presumed OR ended_at_ms IS NULL OR NOT excluded.presumed`;

export const BILL = `
  SELECT user, project, count(*) AS leases, sum(ended_at_ms IS NULL) AS live, sum(presumed) AS presumed,
    ${COLUMNS.map((column) => `sum(${column} / ${SUM_UNIT}) AS ${column}_high, sum(${column} % ${SUM_UNIT}) AS ${column}_low`).join(", ")}
  FROM lease_usage
  WHERE started_at_ms >= $since AND started_at_ms < $until AND ($user IS NULL OR user = $user)
    AND ($project IS NULL OR project = $project)
  GROUP BY user, project ORDER BY user, project`;

/** What the manager notes beside the bills. A version that knows none of them leaves them as they are. */
export const NOTES =
  "CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, text TEXT NOT NULL) STRICT";

/** What lies in the period of leases that began before it is left out: a lease costs its cores, times how long it has had them. */
export const USED_SINCE = `
  SELECT sum(max(0, allocation_core_ns - workers * cores_per_worker * max(0, $since - started_at_ms) * 1000000) / 1e9) AS seconds
  FROM lease_usage WHERE user = $user AND (ended_at_ms IS NULL OR ended_at_ms > $since)`;

/** An earlier version keeps it up as well, so it is no other layout. */
const BY_USER = `CREATE INDEX IF NOT EXISTS lease_usage_by_user ON lease_usage (user, ended_at_ms)`;

export const LIVE = `SELECT * FROM lease_usage WHERE ended_at_ms IS NULL ORDER BY started_at_ms, lease`;

/** How long the cores of a lease had been held when its node reported last. */
export const PRESUME_END = `
  UPDATE lease_usage SET presumed = 1, reason = $reason,
    ended_at_ms = started_at_ms + allocation_core_ns / (max(workers, 1) * max(cores_per_worker, 1)) / 1000000
  WHERE lease = $lease AND ended_at_ms IS NULL`;

/** Makes the ledger in a file that is empty, brings an older one up to date, and checks the whole. Throws {@link LedgerUnavailable}. */
export function prepare(db: Database, path: string): void {
  db.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
  const mode = pragma(db, "journal_mode = WAL");
  if (mode !== "wal")
    throw new LedgerUnavailable(
      `the ledger ${path} cannot have a write-ahead log where it is; put the state directory on a local disk (--state DIR)`,
    );
  db.transaction(() => {
    if (isEmpty(db)) return db.run(CREATE);
    if (pragma(db, "application_id") !== APPLICATION_ID) return;
    for (let version = versionOf(db) + 1; version <= SCHEMA_VERSION; version++)
      db.run(`${UPGRADES[version] ?? ""} PRAGMA user_version = ${version};`);
  }).immediate();
  checkKind(db, path);
  db.run(BY_USER);
  const state = pragma(db, "integrity_check(1)");
  if (state !== "ok") throw damaged(path, String(state));
}

/** Throws {@link LedgerUnavailable} unless the file is a ledger of this layout. */
export function checkKind(db: Database, path: string): void {
  if (pragma(db, "application_id") !== APPLICATION_ID)
    throw new LedgerUnavailable(
      `${path} is another program's database; move it away, or name another state directory with --state DIR`,
    );
  const version = versionOf(db);
  if (version < SCHEMA_VERSION)
    throw new LedgerUnavailable(
      `the ledger ${path} has the older layout ${version} and this version of rfaas reads ${SCHEMA_VERSION}; start its manager with this version once, which brings it up to date`,
    );
  if (version !== SCHEMA_VERSION)
    throw new LedgerUnavailable(
      `the ledger ${path} has the layout ${version} and this version of rfaas knows ${SCHEMA_VERSION}; use the rfaas that wrote it, or a newer one`,
    );
}

const versionOf = (db: Database): number => Number(pragma(db, "user_version"));

function isEmpty(db: Database): boolean {
  return db.query("SELECT 1 FROM sqlite_schema LIMIT 1").get() === null;
}

function pragma(db: Database, what: string): unknown {
  return db.query<Record<string, unknown>, []>(`PRAGMA ${what}`).values()[0]?.[0];
}

export function damaged(path: string, what: string, cause?: unknown): LedgerUnavailable {
  return new LedgerUnavailable(
    `the ledger ${path} is damaged: ${what}; stop the manager, keep a copy of the file and its -wal, then restore a backup or move it away`,
    { cause },
  );
}

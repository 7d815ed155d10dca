/**
 * The lock that a run of a node holds beside its journal for as long as it lives, in whatever container, and that the kernel frees with
 * it: who has the lock knows that the run is over. A process number says that only to processes that count the same ones.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { rmSync } from "node:fs";

/** Of the lock, after the name of its journal. */
const LOCK_SUFFIX = ".lock";

/** A database without content: SQLite locks files in a way that all systems of files have. */
export class JournalLock {
  readonly #db: Database;
  readonly #path: string;

  private constructor(db: Database, path: string) {
    this.#db = db;
    this.#path = path;
  }

  /** Undefined when another has it. Throws where files cannot be locked, or not made. */
  static take(journal: string): JournalLock | undefined {
    const path = `${journal}${LOCK_SUFFIX}`;
    const db = new Database(path, { create: true, readwrite: true });
    try {
      // With no other file beside it.
      db.run("PRAGMA journal_mode = MEMORY");
      db.run("BEGIN EXCLUSIVE");
      return new JournalLock(db, path);
    } catch (error) {
      db.close();
      if (error instanceof SQLiteError && error.code === "SQLITE_BUSY") return undefined;
      throw error;
    }
  }

  /** Others can have it. The file goes with the journal, or with a run that has ended in order. Never throws. */
  release({ remove = false } = {}): void {
    try {
      if (remove) rmSync(this.#path, { force: true });
    } catch {
      // An empty file stays, which says nothing.
    }
    this.#db.close();
  }
}

/**
 * A lock that a process holds for as long as it lives, in whatever container, and that the kernel frees with it. A process number says
 * only to processes that count the same ones who lives.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { rmSync } from "node:fs";

/** A database without content: SQLite locks files in a way that all systems of files have. */
export class FileLock {
  /** A lock whose holder forgets it is held all the same: a database that is collected is closed. */
  static readonly #held = new Set<FileLock>();
  readonly #db: Database;
  readonly #path: string;

  private constructor(db: Database, path: string) {
    this.#db = db;
    this.#path = path;
    FileLock.#held.add(this);
  }

  /** Undefined when another has it. Throws where files cannot be locked, or not made. */
  static take(path: string): FileLock | undefined {
    const db = new Database(path, { create: true, readwrite: true });
    try {
      // With no other file beside it.
      db.run("PRAGMA journal_mode = MEMORY");
      db.run("BEGIN EXCLUSIVE");
      return new FileLock(db, path);
    } catch (error) {
      db.close();
      if (error instanceof SQLiteError && error.code === "SQLITE_BUSY") return undefined;
      throw error;
    }
  }

  /** Others can have it. Its file goes only with what it is beside: another process may wait for this very file. Never throws. */
  release({ remove = false } = {}): void {
    try {
      if (remove) rmSync(this.#path, { force: true });
    } catch {
      // An empty file stays, which says nothing.
    }
    this.#db.close();
    FileLock.#held.delete(this);
  }
}

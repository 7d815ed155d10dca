/**
 * Named records that a manager keeps: what it has issued, what it has revoked, what users may hold. A table is small, is read whole, and is
 * changed by commands beside the manager, too. Where it lies is behind {@link Records}, so that a registry beyond this machine can keep it.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { type FSWatcher, readFileSync, statSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { EnvironmentError } from "../../base/errors.ts";
import { replaceFile, unusable } from "../../trust/files.ts";

/** A table of records by their names. */
export interface Records<Value> extends Disposable {
  /** As last heard. */
  all(): ReadonlyMap<string, Value>;
  /** Changes several at once: undefined removes one. Resolves when the change is kept. Rejects with {@link EnvironmentError}. */
  change(changes: ReadonlyMap<string, Value | undefined>): Promise<void>;
  /** Calls `listener` after each change, who has made it. */
  onChange(listener: () => void): void;
}

const LOCK_TIMEOUT_MS = 5_000;

/** A table in a JSON file of the state directory. Processes that change it at once wait for each other. */
export class FileRecords<Schema extends TSchema> implements Records<Static<Schema>> {
  readonly #path: string;
  readonly #schema: Schema;
  readonly #listeners: (() => void)[] = [];
  #watcher: FSWatcher | undefined;
  #records: Map<string, Static<Schema>>;
  #seen: string;

  /** The directory is there. Throws {@link EnvironmentError} for a file that is damaged. */
  constructor(path: string, record: Schema) {
    this.#path = path;
    this.#schema = record;
    this.#seen = stamp(path);
    this.#records = this.#read();
  }

  /** Hears of changes by other processes from now on; `onProblem` of those that cannot be read, which change nothing. */
  watch(onProblem: (message: string) => void): this {
    const name = basename(this.#path);
    this.#watcher = watch(dirname(this.#path), (_, changed) => {
      if (changed !== name || stamp(this.#path) === this.#seen) return;
      try {
        this.readAgain();
      } catch (error) {
        onProblem((error as Error).message);
      }
    });
    return this;
  }

  all(): ReadonlyMap<string, Static<Schema>> {
    return this.#records;
  }

  async change(changes: ReadonlyMap<string, Static<Schema> | undefined>): Promise<void> {
    {
      using _ = lockedForChange(this.#path);
      const records = this.#read();
      for (const [name, record] of changes)
        if (record === undefined) records.delete(name);
        else records.set(name, record);
      const whole = { version: 1, records: Object.fromEntries(records) };
      replaceFile(this.#path, `${JSON.stringify(whole, null, 1)}\n`, 0o600);
      this.#seen = stamp(this.#path);
      this.#records = records;
    }
    this.#tell();
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** Throws {@link EnvironmentError}, and keeps what it had, for a file that is damaged. */
  readAgain(): void {
    const seen = stamp(this.#path);
    this.#records = this.#read();
    this.#seen = seen;
    this.#tell();
  }

  [Symbol.dispose](): void {
    this.#watcher?.close();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }

  #read(): Map<string, Static<Schema>> {
    return statSync(this.#path, { throwIfNoEntry: false })
      ? readRecords(this.#path, this.#schema)
      : new Map<string, Static<Schema>>();
  }
}

/** The records of such a file. Throws {@link EnvironmentError} where there is none, or it is damaged. */
export function readRecords<Schema extends TSchema>(
  path: string,
  record: Schema,
): Map<string, Static<Schema>> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw unusable(path, error);
  }
  const schema = Type.Object({
    version: Type.Literal(1),
    records: Type.Record(Type.String(), record),
  });
  const whole = parsed(text);
  if (!Value.Check(schema, whole))
    throw new EnvironmentError(
      `${path} is damaged, or of a newer rfaas; restore it, or move it away`,
    );
  return new Map(Object.entries(whole.records as Record<string, Static<Schema>>));
}

/** Tells one state of the file from another: each is a file of its own. */
function stamp(path: string): string {
  const state = statSync(path, { throwIfNoEntry: false });
  return state ? `${state.ino} ${state.mtimeMs} ${state.size}` : "";
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/**
 * No other process changes the table at this path until it is disposed. A database without content: SQLite locks files in a way that all
 * systems of files have, and the kernel frees them with their process. Throws {@link EnvironmentError} where another holds it for long.
 */
export function lockedForChange(table: string): Disposable {
  const path = `${table}.lock`;
  let db: Database;
  try {
    db = new Database(path, { create: true, readwrite: true });
  } catch (error) {
    throw unusable(path, error);
  }
  try {
    db.run(`PRAGMA busy_timeout = ${LOCK_TIMEOUT_MS}`);
    db.run("PRAGMA journal_mode = MEMORY");
    db.run("BEGIN EXCLUSIVE");
    return db;
  } catch (error) {
    db.close();
    if (error instanceof SQLiteError && error.code === "SQLITE_BUSY")
      throw new EnvironmentError(
        `another process has held ${path} for ${LOCK_TIMEOUT_MS / 1000} s; end it, and try again`,
        { cause: error },
      );
    throw unusable(path, error);
  }
}

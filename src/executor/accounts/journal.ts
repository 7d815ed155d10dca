/**
 * Bills that no manager has taken yet, on disk, so that they outlive the node's process: a later run of the node hands them in. Each
 * run has a file of its own, to which a batch of reports is appended, and then synced. A disk that is full or fails costs nothing but
 * that: the bills stay in memory, and are written when they can be.
 */
import {
  closeSync,
  fdatasync,
  fdatasyncSync,
  ftruncateSync,
  mkdirSync,
  renameSync,
  rmSync,
} from "node:fs";
import { join } from "node:path";
import type { Clock, Timer } from "../../base/clock.ts";
import { reasonOf } from "../../base/system-errors.ts";
import type { UsageReport } from "../../protocol/manager-messages.ts";
import {
  type Head,
  NEXT_SUFFIX,
  SUFFIX,
  append,
  headOf,
  lineOf,
  makeJournal,
  takeLock,
} from "./journal-file.ts";

export interface JournalOptions {
  /** Made where it is not there. */
  folder: string;
  of: Pick<Head, "node" | "manager" | "instance" | "cores">;
  log(level: "info" | "warn", message: string): void;
  clock: Clock;
  /** How many bills it holds. Default: 100,000, which take some 70 MB at most. */
  maxBills?: number | undefined;
}

const MAX_BILLS = 100_000;
/** Sums of leases that go on are written so late, and what could not be written is tried again. */
const LATER_MS = 1_000;
/** A longer file is written anew when most of it is past. */
const COMPACT_BYTES = 2 ** 20;
const PAST_FACTOR = 2;

export class BillJournal {
  readonly path: string;
  readonly #options: JournalOptions;
  /** Known once its file is made, as is the lock beside it. */
  #head = "";
  #headBytes = 0;
  #lock: ReturnType<typeof takeLock>;
  /** The newest report of each lease that the manager has not taken whole, the oldest lease first. */
  readonly #open = new Map<string, UsageReport>();
  /** Leases whose newest report is not in the file. */
  readonly #dirty = new Set<string>();
  #fd: number | undefined;
  #bytes = 0;
  /** What the open bills took when they were last written. */
  #openBytes = 0;
  #flushes = false;
  #later: Timer | undefined;
  #wantsSync = false;
  #syncing = false;
  /** The last one has failed. */
  #syncFails = false;
  /** Descriptors to be closed once no sync runs: it may be one of theirs. */
  #past: number[] = [];
  /** Leases with newer reports than a file that is about to take this one's place. */
  #since: Set<string> | undefined;
  #complaint = "";
  #full = false;
  #closed = false;

  /** Makes its file with the first bill. Never throws, nor does any method: what fails is logged. */
  constructor(options: JournalOptions) {
    this.#options = options;
    this.path = join(options.folder, `${options.of.node}.${options.of.instance}${SUFFIX}`);
  }

  /** How many bills the manager has not taken. */
  get size(): number {
    return this.#open.size;
  }

  /**
   * The newest report of a lease. One that `presses` is written at once and synced, the first of a lease is written at once, which the
   * process's death does not undo, and others within a second.
   */
  note(report: UsageReport, presses: boolean): void {
    const { lease } = report;
    if (this.#closed) return;
    const isFirst = !this.#open.has(lease);
    if (isFirst) this.#makeRoom();
    this.#open.set(lease, report);
    this.#dirty.add(lease);
    this.#since?.add(lease);
    this.#wantsSync ||= presses;
    // What could not be written is tried again from time to time, and not with each bill.
    if (!(presses || isFirst) || this.#complaint !== "") return this.#flushLater();
    if (this.#flushes) return;
    this.#flushes = true;
    // With all that comes in the same turn.
    queueMicrotask(() => this.#flush());
  }

  /** The manager has this report. A last one is out of the journal then. */
  taken({ lease, endedAtMs }: UsageReport): void {
    if (endedAtMs === null || !this.#open.delete(lease)) return;
    this.#dirty.delete(lease);
    if (this.#open.size > 0 || this.#fd === undefined || this.#since) return;
    try {
      ftruncateSync(this.#fd, this.#headBytes);
      this.#bytes = this.#headBytes;
      this.#openBytes = 0;
    } catch {
      // What is left says nothing new to the manager.
    }
  }

  /** The node ends. Takes the file away, unless it holds bills that the manager has not taken. */
  close(): void {
    if (this.#closed) return;
    this.#flush();
    this.#closed = true;
    this.#later?.clear();
    try {
      if (this.#fd === undefined) return;
      if (this.#open.size > 0) fdatasyncSync(this.#fd);
      else rmSync(this.path, { force: true });
      this.#closePast(this.#fd);
    } catch (error) {
      this.#complain(error);
    } finally {
      this.#lock?.release({ remove: true });
    }
  }

  /** The oldest bill gives way: it is in memory all the same. */
  #makeRoom(): void {
    const { maxBills = MAX_BILLS, log } = this.#options;
    if (this.#open.size < maxBills) return;
    const [oldest] = this.#open.keys();
    this.#open.delete(oldest!);
    this.#dirty.delete(oldest!);
    if (!this.#full)
      log(
        "warn",
        `the journal of bills holds no more than ${maxBills} of them; older ones are in memory alone until a manager takes them`,
      );
    this.#full = true;
  }

  #flushLater(): void {
    this.#later ??= this.#options.clock.after(LATER_MS, () => {
      this.#later = undefined;
      this.#flush();
    });
    this.#later.unref();
  }

  #flush(): void {
    this.#flushes = false;
    if (this.#closed || (this.#dirty.size === 0 && !this.#syncFails)) return;
    try {
      this.#fd ??= this.#begin();
      const lines = this.#linesOf(this.#dirty);
      append(this.#fd, lines, this.#bytes);
      this.#bytes += Buffer.byteLength(lines);
      this.#dirty.clear();
    } catch (error) {
      this.#complain(error);
      return this.#flushLater();
    }
    // What of the file is on disk is unknown then, and the kernel does not try that again.
    if (this.#syncFails) return this.#compact();
    this.#recovered();
    if (this.#wantsSync) this.#sync();
    if (this.#bytes > Math.max(COMPACT_BYTES, PAST_FACTOR * this.#openBytes)) this.#compact();
  }

  #linesOf(leases: Iterable<string>): string {
    let lines = "";
    for (const lease of leases) {
      const report = this.#open.get(lease);
      if (report) lines += lineOf(report);
    }
    return lines;
  }

  #begin(): number {
    const { folder, of } = this.#options;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    try {
      this.#lock ??= takeLock(this.path);
    } catch {
      // A later run judges by its process then.
    }
    this.#head = lineOf(headOf(this.#lock ? { ...of, locked: true } : of));
    this.#headBytes = Buffer.byteLength(this.#head);
    return this.#make(this.path);
  }

  #make(path: string): number {
    const fd = makeJournal(path, this.#head);
    this.#bytes = this.#headBytes;
    return fd;
  }

  /** One at a time; what has been written meanwhile is in the next. */
  #sync(): void {
    if (this.#syncing || this.#fd === undefined) return;
    this.#syncing = true;
    this.#wantsSync = false;
    fdatasync(this.#fd, (error) => {
      this.#syncing = false;
      this.#closePast();
      if (error) return this.#syncFailed(error);
      if (this.#syncFails) this.#recovered();
      this.#syncFails = false;
      if (this.#wantsSync && !this.#closed) this.#sync();
    });
  }

  /** All that is open goes to a new file a moment later. */
  #syncFailed(error: Error): void {
    this.#complain(error);
    this.#syncFails = this.#wantsSync = true;
    if (!this.#closed) this.#flushLater();
  }

  #closePast(fd?: number): void {
    if (fd !== undefined) this.#past.push(fd);
    if (!this.#syncing) for (const past of this.#past.splice(0)) closeSync(past);
  }

  /** Writes what is open to a file that takes this one's place once it is on disk; until then, all goes to this one. */
  #compact(): void {
    if (this.#since) return;
    const next = `${this.path}${NEXT_SUFFIX}`;
    const before = this.#bytes;
    let fd: number;
    let bytes: number;
    try {
      fd = this.#make(next);
      const lines = this.#linesOf(this.#open.keys());
      append(fd, lines, this.#headBytes);
      bytes = this.#headBytes + Buffer.byteLength(lines);
    } catch {
      // The file that is there goes on, until there is room for two.
      this.#notCompacted(next, before);
      return;
    } finally {
      this.#bytes = before;
    }
    this.#since = new Set();
    fdatasync(fd, (error) => {
      const since = this.#since!;
      this.#since = undefined;
      try {
        if (error) throw error;
        if (this.#closed) throw new Error("the node ends");
        const lines = this.#linesOf(since);
        append(fd, lines, bytes);
        renameSync(next, this.path);
        this.#openBytes = this.#bytes = bytes + Buffer.byteLength(lines);
        [fd, this.#fd] = [this.#fd!, fd];
        this.#wantsSync = true;
        this.#sync();
      } catch {
        this.#notCompacted(next, this.#bytes);
      }
      this.#closePast(fd);
    });
  }

  #notCompacted(next: string, bytes: number): void {
    this.#openBytes = bytes;
    try {
      rmSync(next, { force: true });
    } catch {
      // The next one is written over it.
    }
    if (this.#syncFails && !this.#closed) this.#flushLater();
  }

  #recovered(): void {
    if (this.#complaint !== "")
      this.#options.log("info", `the journal of bills ${this.path} can be written again`);
    this.#complaint = "";
  }

  /** Logs a repeated failure once. */
  #complain(error: unknown): void {
    const why = reasonOf(error);
    if (why === this.#complaint) return;
    this.#complaint = why;
    this.#options.log(
      "warn",
      `the journal of bills ${this.path} cannot be written, so bills that no manager has taken are lost if this node is killed: ${why}; see to that, or name another directory with --state`,
    );
  }
}

/**
 * Which packages are in use, among all nodes that share a cache: each has a file for every package that its leases use, `HASH.NODE`,
 * and touches it every minute. A file that was not touched for ten minutes belongs to a node that is gone.
 */
import { readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const TOUCH_INTERVAL_MS = 60_000;
const ABANDONED_MS = 10 * TOUCH_INTERVAL_MS;

export class PackageUsers {
  readonly #folder: string;
  readonly #node: string;
  readonly #now: () => number;
  readonly #leases = new Map<string, number>();
  /** Folders of uploads, that are kept young too. */
  readonly #others = new Set<string>();
  #touching: ReturnType<typeof setInterval> | undefined;

  constructor(folder: string, node: string, now: () => number) {
    this.#folder = folder;
    this.#node = node;
    this.#now = now;
  }

  /** How many leases of this node use the package. */
  leases(hash: string): number {
    return this.#leases.get(hash) ?? 0;
  }

  /** The packages that leases of this node use. */
  held(): string[] {
    return [...this.#leases.keys()];
  }

  /** A lease uses the package from now on. */
  begin(hash: string): void {
    const leases = this.leases(hash);
    this.#leases.set(hash, leases + 1);
    if (leases === 0) {
      try {
        writeFileSync(this.#mark(hash), "");
      } catch {
        // A full disk must not keep a lease from a stored package; without the mark, only another node can evict it.
      }
    }
    this.#touch();
  }

  end(hash: string): void {
    const left = this.leases(hash) - 1;
    if (left > 0) this.#leases.set(hash, left);
    else {
      this.#leases.delete(hash);
      try {
        rmSync(this.#mark(hash), { force: true });
      } catch {
        // The mark grows old, and a node sweeps it.
      }
    }
    this.#rest();
  }

  /** Touches the folder at `path` at intervals, so that no node takes it for abandoned. */
  keep(path: string): void {
    this.#others.add(path);
    this.#touch();
  }

  leave(path: string): void {
    this.#others.delete(path);
    this.#rest();
  }

  /** Whether a lease uses the package, of this node or of another one. */
  has(hash: string): boolean {
    if (this.#leases.has(hash)) return true;
    return readdirSync(this.#folder).some(
      (name) => name.startsWith(hash) && !this.isAbandoned(join(this.#folder, name)),
    );
  }

  /** Whether no node has touched it for ten minutes. */
  isAbandoned(path: string): boolean {
    const touched = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? -Infinity;
    return this.#now() - touched > ABANDONED_MS;
  }

  #touch(): void {
    this.#touching ??= setInterval(() => {
      const marks = [...this.#leases.keys()].map((hash) => this.#mark(hash));
      const at = new Date(this.#now());
      for (const path of [...marks, ...this.#others]) {
        try {
          utimesSync(path, at, at);
        } catch {
          // The disk may be full; the next touch tries again.
        }
      }
    }, TOUCH_INTERVAL_MS);
    this.#touching.unref();
  }

  #rest(): void {
    if (this.#leases.size > 0 || this.#others.size > 0) return;
    clearInterval(this.#touching);
    this.#touching = undefined;
  }

  #mark(hash: string): string {
    return join(this.#folder, `${hash}.${this.#node}`);
  }
}

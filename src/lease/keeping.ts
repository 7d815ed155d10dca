/**
 * Which hosts a node keeps when their leases are over, and for how long. Pure: time comes with each question, and hosts that are to end
 * come back. Those that were kept longest go first. What they take of the node's memory is what leases leave of it.
 */

/** A host that may serve another lease of the same key. */
export interface Keep<Host> {
  host: Host;
  /** Who and what it is for: a lease with another key never gets it. */
  key: string;
  memoryBytes: number;
  untilNs: number;
}

export class Keeping<Host> {
  readonly #limit: number;
  /** The one that was kept last is last. */
  #kept: Keep<Host>[] = [];

  /** Keeps at most `limit` hosts. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get size(): number {
    return this.#kept.length;
  }

  get memoryBytes(): number {
    return this.#kept.reduce((sum, { memoryBytes }) => sum + memoryBytes, 0);
  }

  /** Keeps a host, if `roomBytes` hold it. Returns those that are to end, the new one among them when it is not kept. */
  keep(keep: Keep<Host>, roomBytes: number): Host[] {
    if (this.#limit === 0 || keep.memoryBytes > roomBytes) return [keep.host];
    this.#kept.push(keep);
    const tooMany = this.#kept.splice(0, Math.max(0, this.size - this.#limit));
    return [...tooMany.map(({ host }) => host), ...this.fit(roomBytes)];
  }

  /** The host of this key that was kept last, which is kept no more. */
  take(key: string, atNs: number): Host | undefined {
    const at = this.#kept.findLastIndex((kept) => kept.key === key && kept.untilNs > atNs);
    return at < 0 ? undefined : this.#kept.splice(at, 1)[0]!.host;
  }

  /** Leases leave so many bytes. Returns the hosts that must end for that. */
  fit(roomBytes: number): Host[] {
    const ending: Host[] = [];
    for (let bytes = this.memoryBytes; bytes > roomBytes;) {
      const { host, memoryBytes } = this.#kept.shift()!;
      bytes -= memoryBytes;
      ending.push(host);
    }
    return ending;
  }

  /** The host that was kept longest, which is to end: something else needs what it has. */
  evict(): Host | undefined {
    return this.#kept.shift()?.host;
  }

  /** The hosts whose time is over. */
  passTime(atNs: number): Host[] {
    const over = this.#kept.filter(({ untilNs }) => untilNs <= atNs);
    this.#kept = this.#kept.filter(({ untilNs }) => untilNs > atNs);
    return over.map(({ host }) => host);
  }

  /** When {@link passTime} must be asked next; Infinity when none is kept. */
  nextDueNs(): number {
    return this.#kept.reduce((first, { untilNs }) => Math.min(first, untilNs), Infinity);
  }

  /** The host is gone. */
  forget(gone: Host): void {
    this.#kept = this.#kept.filter(({ host }) => host !== gone);
  }

  /** All of them, which are to end. */
  clear(): Host[] {
    return this.#kept.splice(0).map(({ host }) => host);
  }
}

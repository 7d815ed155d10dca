/**
 * Those that wait for room on a node, in fair order: users take turns, and each user's own go in the order of their arrival. The first
 * in line is served before all others, so that small requests do not starve a large one.
 */
export class Line<Waiting> {
  /** By user; the user whose turn it is comes first. None is empty. */
  readonly #users = new Map<string, Waiting[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): Waiting | undefined {
    for (const [first] of this.#users.values()) return first;
    return undefined;
  }

  /** How many of a user's wait. */
  sizeOf(user: string): number {
    return this.#users.get(user)?.length ?? 0;
  }

  add(user: string, waiting: Waiting): void {
    const own = this.#users.get(user);
    if (own) own.push(waiting);
    else this.#users.set(user, [waiting]);
    this.#size++;
  }

  /** The first in line is served, or leaves: it is another user's turn. */
  shift(): void {
    for (const [user, own] of this.#users) {
      own.shift();
      this.#size--;
      this.#users.delete(user);
      if (own.length > 0) this.#users.set(user, own);
      return;
    }
  }

  /** Those that match leave, wherever they are. Returns them. */
  remove(matches: (waiting: Waiting) => boolean): Waiting[] {
    const removed: Waiting[] = [];
    for (const [user, own] of this.#users) {
      const left = own.filter((waiting) => !matches(waiting));
      if (left.length === own.length) continue;
      removed.push(...own.filter(matches));
      if (left.length > 0) this.#users.set(user, left);
      else this.#users.delete(user);
    }
    this.#size -= removed.length;
    return removed;
  }
}

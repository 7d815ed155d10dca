/** Which user of the machine functions of each user of the node are: one of a range, for as long as any of their hosts lives. */
import { countOf } from "../../../base/units.ts";

export interface UidRange {
  from: number;
  to: number;
}

/** A uid for one host. */
export interface UserHold {
  readonly uid: number;
  /** The host is gone, with all that it started. Calling it again does nothing. */
  release(): void;
}

interface Given {
  uid: number;
  hosts: number;
}

export class Users {
  readonly range: UidRange;
  readonly #given = new Map<string, Given>();
  readonly #taken = new Set<number>();
  #next: number;

  constructor(range: UidRange) {
    this.range = range;
    this.#next = range.from;
  }

  /** How many users can have hosts at a time. */
  get size(): number {
    return this.range.to - this.range.from + 1;
  }

  /** Whether a user could have a host. */
  has(user: string): boolean {
    return this.#given.has(user) || this.#taken.size < this.size;
  }

  /** The uid of a user, who has it alone as long as one of their holds lasts. Undefined where all are given to others. */
  hold(user: string): UserHold | undefined {
    let given = this.#given.get(user);
    if (!given) {
      if (!this.has(user)) return undefined;
      given = { uid: this.#unused(), hosts: 0 };
      this.#given.set(user, given);
      this.#taken.add(given.uid);
    }
    const own = given;
    own.hosts++;
    let held = true;
    return {
      uid: own.uid,
      release: () => {
        if (!held) return;
        held = false;
        if (--own.hosts > 0) return;
        this.#given.delete(user);
        this.#taken.delete(own.uid);
      },
    };
  }

  /** What a user is told for whom there is none. */
  spent(): string {
    return `the node keeps users apart by ${countOf(this.size, "uid")}, and other users have all of them; let the request wait (wait: true), or let the node serve with more (rfaas serve --uid-range)`;
  }

  /** The one that was given back longest ago comes last. */
  #unused(): number {
    const { from, to } = this.range;
    for (;;) {
      const uid = this.#next;
      this.#next = uid === to ? from : uid + 1;
      if (!this.#taken.has(uid)) return uid;
    }
  }
}

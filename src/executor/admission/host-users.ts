/** Which user of the machine the host of a lease becomes, where the node gives each of its users one. */
import { RequestRefused } from "../../control/requests.ts";
import type { Become } from "../../protocol/host-messages.ts";
import { userTasksFor } from "../limits/bounds.ts";
import type { Users } from "../sandbox/users/range.ts";
import { type Identity, OWNER } from "./identity.ts";
import { FULL } from "./waiting-line.ts";

export interface HostUsersOptions {
  /** Left out, hosts stay the node's user. */
  users: Users | undefined;
  /** How many hosts the node has at a time, at most. */
  mostHosts: number;
  /** Ends a host that is only kept, and resolves when it is gone; returns undefined where none is kept. */
  evict(): Promise<unknown> | undefined;
  /** There may be a uid for those that wait. */
  freed(): void;
}

/** The user of one lease's host. */
export interface HostUser {
  /** What the host is told. */
  readonly becomes: Become;
  /** The lease has a host, which holds its user until it is gone; one that rests has done so since its first lease. */
  isOf(host: { readonly exited: Promise<unknown> }, rests: boolean): void;
  /** The lease gets no host. Does nothing once it has one. */
  release(): void;
}

export class HostUsers {
  readonly #options: HostUsersOptions;
  /** Leases of clients who have no name. */
  #unnamed = 0;

  constructor(options: HostUsersOptions) {
    this.#options = options;
  }

  /** Hosts that are only kept end, while other users have all uids. */
  async makeWayFor(identity: Identity): Promise<void> {
    while (!this.#hasFor(identity)) {
      const evicted = this.#options.evict();
      if (!evicted) return;
      await evicted;
    }
  }

  /** One for a lease of a client; undefined where hosts stay the node's. Throws {@link RequestRefused} while all are others'. */
  holdFor(identity: Identity): HostUser | undefined {
    const { users, mostHosts, evict, freed } = this.#options;
    if (!users) return undefined;
    const hold = users.hold(this.#named(identity));
    if (!hold) {
      // When it is gone, those that wait are served.
      void evict();
      throw new RequestRefused(FULL, users.spent());
    }
    let hosted = false;
    return {
      becomes: { uid: hold.uid, tasks: userTasksFor(mostHosts) },
      release: () => {
        if (!hosted) hold.release();
      },
      isOf: ({ exited }, rests) => {
        hosted = true;
        if (rests) return hold.release();
        void exited.then(() => {
          hold.release();
          freed();
        });
      },
    };
  }

  #hasFor(identity: Identity): boolean {
    return this.#options.users?.has(this.#named(identity)) ?? true;
  }

  /** The node's own user is none of those whom tokens name. Without a name it may be another person each time. */
  #named(identity: Identity): string {
    if (identity === OWNER) return "owner";
    return identity.shared ? `unnamed ${this.#unnamed++}` : `named ${identity.user}`;
  }
}

/** How many cores and how much memory each user holds on this node, against the limits in the user's token. */
import { NOTHING as NO_LEASES, type OverLimit, reached } from "../../lease/quota.ts";
import { countOf, formatBytes } from "../../base/units.ts";
import type { Identity } from "./identity.ts";

/** What a lease takes of its user's quota. */
export interface Held {
  cores: number;
  /** Its registered memory and its heap. */
  memoryBytes: number;
}

const NOTHING: Held = { cores: 0, memoryBytes: 0 };

export class Quota {
  /** By user, as long as the capacity is taken. */
  readonly #held = new Map<string, Held>();

  /** Why so much more is not for this user, or null. */
  refusal({ user, maxCores, maxMemoryBytes }: Identity, wanted: Held): OverLimit | null {
    const held = this.#heldBy(user);
    const limits = {
      ...(maxCores === null ? {} : { maxCores }),
      ...(maxMemoryBytes === undefined ? {} : { maxMemoryBytes }),
    };
    const over = (why: string): OverLimit => ({
      why,
      limit: reached(limits, { ...NO_LEASES, ...wanted }, false),
    });
    if (maxCores !== null && held.cores + wanted.cores > maxCores)
      return over(
        `the token of ${user} is good for ${countOf(maxCores, "core")} at a time on this node, ${held.cores} are leased and ${wanted.cores} are asked for; release some, or ask for a token with more`,
      );
    if (maxMemoryBytes !== undefined && held.memoryBytes + wanted.memoryBytes > maxMemoryBytes)
      return over(
        `the token of ${user} is good for ${formatBytes(maxMemoryBytes)} of memory at a time on this node, ${formatBytes(held.memoryBytes)} are leased and ${formatBytes(wanted.memoryBytes)} are asked for, the heap included; ask for less heap or memory, or for a token with more`,
      );
    return null;
  }

  take(user: string, more: Held): void {
    const { cores, memoryBytes } = this.#heldBy(user);
    this.#held.set(user, {
      cores: cores + more.cores,
      memoryBytes: memoryBytes + more.memoryBytes,
    });
  }

  giveBack(user: string, less: Held): void {
    const held = this.#heldBy(user);
    const cores = held.cores - less.cores;
    const memoryBytes = held.memoryBytes - less.memoryBytes;
    if (cores > 0) this.#held.set(user, { cores, memoryBytes });
    else this.#held.delete(user);
  }

  #heldBy(user: string): Held {
    return this.#held.get(user) ?? NOTHING;
  }
}

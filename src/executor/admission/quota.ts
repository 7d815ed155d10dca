/** How many cores each user holds on this node, against the limit in the user's token. */
import { countOf } from "../../base/units.ts";
import type { Identity } from "./identity.ts";

export class Quota {
  /** By user, as long as the capacity is taken. */
  readonly #held = new Map<string, number>();

  /** Why `cores` more are not for this user, or null. */
  refusal({ user, maxCores }: Identity, cores: number): string | null {
    const held = this.#heldBy(user);
    if (maxCores === null || held + cores <= maxCores) return null;
    return `the token of ${user} is good for ${countOf(maxCores, "core")} at a time on this node, ${held} are leased and ${cores} are asked for; release some, or ask for a token with more`;
  }

  take(user: string, cores: number): void {
    this.#held.set(user, this.#heldBy(user) + cores);
  }

  giveBack(user: string, cores: number): void {
    const left = this.#heldBy(user) - cores;
    if (left > 0) this.#held.set(user, left);
    else this.#held.delete(user);
  }

  #heldBy(user: string): number {
    return this.#held.get(user) ?? 0;
  }
}

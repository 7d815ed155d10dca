/** How many cores each user holds on this node, against what the user's token is good for. */
import type { Identity } from "./identity.ts";

export class Quota {
  /** By user, as long as the capacity is taken. */
  readonly #held = new Map<string, number>();

  /** Why `workers` more cores are not for this user, or null. */
  refusal({ user, maxCores }: Identity, workers: number): string | null {
    const held = this.#heldBy(user);
    if (maxCores === null || held + workers <= maxCores) return null;
    return `the token of ${user} is good for ${maxCores} cores at a time on this node, ${held} are leased and ${workers} are asked for; release some, or ask for a token with more`;
  }

  take(user: string, workers: number): void {
    this.#held.set(user, this.#heldBy(user) + workers);
  }

  giveBack(user: string, workers: number): void {
    const left = this.#heldBy(user) - workers;
    if (left > 0) this.#held.set(user, left);
    else this.#held.delete(user);
  }

  #heldBy(user: string): number {
    return this.#held.get(user) ?? 0;
  }
}

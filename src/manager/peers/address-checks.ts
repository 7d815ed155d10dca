/**
 * Looks at the addresses that nodes announce, with the manager's eyes, and makes no scanner of the manager: it looks only at the
 * address that an admitted node has announced, says one word of it, paces those of one machine, and few go on at once. A node that
 * came without a token learns only of the address that it comes from whether anything else is there.
 */
import type { Clock } from "../../base/clock.ts";
import { type Address, parseAddress } from "../../control/address.ts";
import {
  type Found,
  type Proof,
  type Reached,
  type Reaching,
  leadsToItself,
  plainAddress,
} from "../../control/reach/reach.ts";

/** `reach` of `control/`, unless a test has a network of its own. */
export type Reach = (address: Address, proof: Proof, how: Reaching) => Promise<Found>;

/** How long one look may take. */
export const LOOK_LIMIT_MS = 4_000;
const AT_ONCE = 32;
/** Those of one machine: so many at once, then one after each interval. */
const BURST = 16;
const INTERVAL_MS = 250;
/** Machines that are remembered; older ones have been quiet for long. */
const MAX_SOURCES = 16_384;

export class AddressChecks {
  readonly #reach: Reach;
  readonly #clock: Clock;
  #going = 0;
  readonly #waiting: (() => void)[] = [];
  /** By where nodes come from: when its next look would come if it had never paused. */
  readonly #paces = new Map<string, number>();

  constructor(reach: Reach, clock: Clock) {
    this.#reach = reach;
    this.#clock = clock;
  }

  /** Looks for a node at its address. `known`: it has shown a token. Never rejects. */
  async look(
    announced: string,
    proof: Proof,
    { comesFrom, known }: { comesFrom: string; known: boolean },
  ): Promise<Reached> {
    const address = read(announced);
    if (!address) return "unknown-name";
    const source = plainAddress(comesFrom);
    await this.#pause(this.#waitMs(source));
    if (this.#going >= AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#going++;
    try {
      return await this.#look(address, proof, source, known);
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#going--;
    }
  }

  async #look(address: Address, proof: Proof, source: string, known: boolean): Promise<Reached> {
    const startedMs = this.#clock.nowMs();
    const local = leadsToItself(source);
    const { reached, tried } = await this.#reach(address, proof, { local, limitMs: LOOK_LIMIT_MS });
    const itsOwn = tried.every((one) => plainAddress(one) === source);
    if (known || local || itsOwn || reached === "yes") return reached;
    // Neither the word nor the time that it took tells of what is there.
    await this.#pause(LOOK_LIMIT_MS - (this.#clock.nowMs() - startedMs));
    return "unproven";
  }

  #waitMs(source: string): number {
    const nowMs = this.#clock.nowMs();
    const next = Math.max(this.#paces.get(source) ?? 0, nowMs - BURST * INTERVAL_MS) + INTERVAL_MS;
    this.#paces.delete(source);
    this.#paces.set(source, next);
    for (const oldest of this.#paces.keys()) {
      if (this.#paces.size <= MAX_SOURCES) break;
      this.#paces.delete(oldest);
    }
    return next - nowMs;
  }

  async #pause(ms: number): Promise<void> {
    if (ms > 0) await new Promise<void>((resolve) => this.#clock.after(ms, resolve));
  }
}

function read(text: string): Address | undefined {
  try {
    return parseAddress(text);
  } catch {
    return undefined;
  }
}

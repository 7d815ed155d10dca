/** A machine's own clock: it starts anywhere and is a little fast or slow. */
import type { Random } from "./random.ts";
import type { Schedule } from "./schedule.ts";
import { S } from "./world.ts";

export class NodeClock {
  readonly #schedule: Schedule;
  readonly #offsetNs: number;
  readonly #rate: number;

  constructor(schedule: Schedule, random: Random) {
    this.#schedule = schedule;
    this.#offsetNs = random.between(0, 1e6) * S;
    this.#rate = 1 + random.between(-100, 100) / 1e6;
  }

  nowNs(): number {
    return this.at(this.#schedule.nowNs);
  }

  /** What it shows at a moment of the simulation. */
  at(virtualNs: number): number {
    return this.#offsetNs + Math.floor(virtualNs * this.#rate);
  }

  /** How long until it shows `atNs`, and not less. */
  untilNs(atNs: number): number {
    const virtual = Math.ceil((atNs - this.#offsetNs) / this.#rate) + 1;
    return Math.max(0, virtual - this.#schedule.nowNs);
  }
}

/** What a process of the simulation keeps time by: its machine's own clock, which starts anywhere and is a little fast or slow. */
import type { Clock, Timer } from "../../src/base/clock.ts";
import type { Actor, Task } from "./actor.ts";
import { MS, S, type World } from "./world.ts";

const NO_TIMER: Timer = { clear() {}, ref() {}, unref() {} };
/** An event loop has other things to do. */
const MOST_LATE_NS = 1 * MS;

export class ActorClock implements Clock {
  readonly #world: World;
  readonly #actor: Actor;
  readonly #life: number;
  readonly #offsetNs: number;
  readonly #rate: number;
  /** How many timers go off again and again. */
  periodic = 0;
  /** When those were set that go off once, and have not. */
  readonly #pending = new Map<Task, number>();

  constructor(world: World, actor: Actor) {
    this.#world = world;
    this.#actor = actor;
    this.#life = actor.life;
    this.#offsetNs = world.random.between(0, 1e6) * S;
    this.#rate = 1 + world.random.between(-100, 100) / 1e6;
  }

  nowNs(): number {
    return this.at(this.#world.schedule.nowNs);
  }

  nowMs(): number {
    return this.nowNs() / MS;
  }

  /** Machines agree on it. */
  wallMs(): number {
    return Math.floor(this.#world.schedule.nowNs / MS);
  }

  /** What it shows at a moment of the simulation. */
  at(virtualNs: number): number {
    return this.#offsetNs + Math.floor(virtualNs * this.#rate);
  }

  after(delayMs: number, run: () => void): Timer {
    if (this.#isOver) return NO_TIMER;
    const lateNs = this.#world.random.between(0, MOST_LATE_NS);
    const task = this.#actor.after(this.#virtualNs(delayMs) + lateNs, "has a timer", () => {
      this.#pending.delete(task);
      run();
    });
    this.#pending.set(task, this.#world.schedule.nowNs);
    const clear = (): void => {
      this.#pending.delete(task);
      task.clear();
    };
    return { clear, ref() {}, unref() {} };
  }

  /** How many timers were set before that moment of the simulation, and are still to go off. Periodic ones do not count. */
  pendingSince(virtualNs: number): number {
    let count = 0;
    for (const setAtNs of this.#pending.values()) if (setAtNs < virtualNs) count++;
    return count;
  }

  every(intervalMs: number, run: () => void): Timer {
    if (this.#isOver) return NO_TIMER;
    const intervalNs = this.#virtualNs(intervalMs);
    const next = () =>
      this.#actor.after(intervalNs, "has a timer", () => {
        // It may be cleared by what it does.
        task = next();
        run();
      });
    let task = next();
    let cleared = false;
    this.periodic++;
    const clear = (): void => {
      task.clear();
      if (!cleared) this.periodic--;
      cleared = true;
    };
    return { clear, ref() {}, unref() {} };
  }

  /** Code of an earlier life runs on in the simulation, and in no process. */
  get #isOver(): boolean {
    return this.#life !== this.#actor.life;
  }

  /** How long it takes in the simulation until the clock has gone on by so much, and not less. */
  #virtualNs(delayMs: number): number {
    return Math.ceil((Math.max(0, delayMs) * MS) / this.#rate) + 1;
  }
}

/** A process: it may be killed, started again, and stopped for a while (SIGSTOP, a busy machine). */
import type { SocketEvents, Socket } from "./network.ts";
import type { Planned } from "./schedule.ts";
import type { World } from "./world.ts";

/** Something that a process will do, unless it is cleared. */
export class Task {
  /** Where it is in the schedule. */
  planned: Planned | undefined;

  clear(): void {
    if (this.planned) this.planned.cancelled = true;
  }
}

export abstract class Actor {
  readonly name: string;
  protected readonly world: World;
  #life = 0;
  #alive = false;
  #pausedUntilNs = -1;

  constructor(world: World, name: string) {
    this.world = world;
    this.name = name;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** How many times it has died: what belongs to an earlier life does nothing any more. */
  get life(): number {
    return this.#life;
  }

  get paused(): boolean {
    return this.world.schedule.nowNs <= this.#pausedUntilNs;
  }

  /** Up to when it has not run, if it was ever stopped. */
  get pausedUntilNs(): number {
    return this.#pausedUntilNs;
  }

  /** Does something later, unless this process is then dead. */
  after(delayNs: number, what: string, run: () => void): Task {
    const task = new Task();
    this.#plan(task, this.world.schedule.nowNs + delayNs, what, this.#life, run);
    return task;
  }

  start(): void {
    if (this.#alive) return;
    this.#alive = true;
    this.#pausedUntilNs = -1;
    this.world.trace.note(this.name, "starts");
    this.started();
  }

  /** Ends at once. With `silently`, the whole machine is gone: its peers hear nothing of it. */
  kill(silently: boolean): void {
    if (!this.#alive) return;
    this.#alive = false;
    this.#life++;
    this.world.trace.note(this.name, silently ? "loses power" : "is killed");
    this.died();
    this.world.network.died(this, silently);
  }

  pause(forNs: number): void {
    this.#pausedUntilNs = Math.max(this.#pausedUntilNs, this.world.schedule.nowNs + forNs);
    this.world.trace.note(this.name, "stops for a while");
  }

  /** A connection to this process was made: who is to hear of it. */
  abstract accepted(socket: Socket): SocketEvents;
  protected abstract started(): void;
  protected abstract died(): void;

  #plan(task: Task, atNs: number, what: string, life: number, run: () => void): void {
    task.planned = this.world.schedule.plan(atNs, this.name, what, () => {
      if (life !== this.#life || !this.#alive) return;
      if (this.paused) return this.#plan(task, this.#pausedUntilNs + 1, what, life, run);
      run();
    });
  }
}

/** What an actor says of itself: appended at once, since it may be killed after any line. */
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { clockSince } from "./functions/clock.ts";
import type { Happened } from "./history.ts";

type Without<Event> = Event extends unknown ? Omit<Event, "t" | "by"> : never;

export class Journal {
  readonly #by: string;
  readonly #file: number;
  readonly #now: () => number;

  /** `machineStartedMs` where the machine's clock is set in the run. */
  constructor(folder: string, by: string, machineStartedMs?: number) {
    this.#by = by;
    this.#now = clockSince(machineStartedMs);
    this.#file = openSync(join(folder, `${by}.jsonl`), "a");
  }

  say(event: Without<Happened>): void {
    writeSync(this.#file, `${JSON.stringify({ t: this.#now(), by: this.#by, ...event })}\n`);
  }
}

/** What an actor says of itself: appended at once, since it may be killed after any line. */
import { openSync, writeSync } from "node:fs";
import { join } from "node:path";
import type { Happened } from "./history.ts";

type Without<Event> = Event extends unknown ? Omit<Event, "t" | "by"> : never;

export class Journal {
  readonly #by: string;
  readonly #file: number;

  constructor(folder: string, by: string) {
    this.#by = by;
    this.#file = openSync(join(folder, `${by}.jsonl`), "a");
  }

  say(event: Without<Happened>): void {
    writeSync(this.#file, `${JSON.stringify({ t: Date.now(), by: this.#by, ...event })}\n`);
  }
}

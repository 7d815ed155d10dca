/** The deadlines of a map's calls: one timer for all of them. */
import { DeadlineExceeded } from "../../base/errors.ts";
import type { MapItem } from "./item.ts";
import type { Station } from "./station.ts";

/** A map whose calls have deadlines. */
export interface DeadlineOwner {
  /** Lets calls end in `look`. Returns whether others are in flight. */
  heed(look: () => void): boolean;
  /** Continues the map after calls have ended. */
  heeded(): void;
}

export class Deadlines<Value, Result> {
  /** 0 for none. */
  readonly #deadlineMs: number;
  readonly #stations: Iterable<Station<Value, Result>>;
  readonly #owner: DeadlineOwner;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    deadlineMs: number,
    stations: Iterable<Station<Value, Result>>,
    owner: DeadlineOwner,
  ) {
    this.#deadlineMs = deadlineMs;
    this.#stations = stations;
    this.#owner = owner;
  }

  /** The item's time begins, with its first attempt. */
  begin(item: MapItem<Value, Result>): void {
    if (this.#deadlineMs === 0) return;
    if (item.startedNs === 0) item.startedNs = Bun.nanoseconds();
    this.#timer ??= setTimeout(() => this.#look(), this.#deadlineMs);
  }

  close(): void {
    clearTimeout(this.#timer);
  }

  #look(): void {
    this.#timer = undefined;
    let nextMs = this.#deadlineMs;
    const goesOn = this.#owner.heed(() => {
      for (const station of [...this.#stations]) {
        if (station.done) continue;
        const leftMs = station.remainingMs();
        if (leftMs <= 0) station.lane.abandon(station, new DeadlineExceeded(this.#deadlineMs));
        else nextMs = Math.min(nextMs, leftMs);
      }
    });
    if (goesOn) this.#timer = setTimeout(() => this.#look(), Math.ceil(nextMs));
    this.#owner.heeded();
  }
}

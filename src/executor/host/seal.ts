/** What the functions of a host may do, as its agent tells it: a word of its command line. */
import { type RoomFreedoms, sealRoom } from "../../../ffi/sandbox.ts";

/** That of a host which seals nothing. */
const OPEN = "open";

export function freedomsOf(terms: RoomFreedoms | undefined): string {
  if (!terms) return OPEN;
  const allowed = [terms.network && "network", terms.processes && "processes"];
  return `sealed:${allowed.filter(Boolean).join("+")}`;
}

/** Anything that it cannot read allows nothing. */
export function freedomsIn(word: string): RoomFreedoms | undefined {
  if (word === OPEN) return undefined;
  const allowed = word.replace("sealed:", "").split("+");
  return { network: allowed.includes("network"), processes: allowed.includes("processes") };
}

/** Gives up what a host's functions may not do. */
export class Seal {
  readonly freedoms: RoomFreedoms;
  #begun = false;

  constructor(freedoms: RoomFreedoms) {
    this.freedoms = freedoms;
  }

  /** What the host needs no more itself: so its lease waits for less. */
  begin(): void {
    sealRoom(this.freedoms, "first");
    this.#begun = true;
  }

  /** All else. */
  finish(): void {
    sealRoom(this.freedoms, this.#begun ? "rest" : "all");
  }
}

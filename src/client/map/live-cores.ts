/** The parts that a map spreads its calls over: where a lease replaces what it loses, others come. */
import type { LeaseCore } from "../calls/submission.ts";

/** What tells a map of parts that come. */
export interface JoiningCores {
  /** Whether parts that are lost will be replaced. */
  readonly open: boolean;
  /** Calls `listener` with a part that has come, if any, and one whose place others have, if any; with neither when no more will come. */
  onJoined(listener: (core?: LeaseCore, former?: LeaseCore) => void): () => void;
}

/** The event loops' looks for answers, on all parts or on none. */
export class Followed {
  readonly #all: readonly LeaseCore[];
  #wanted = false;

  constructor(all: readonly LeaseCore[]) {
    this.#all = all;
  }

  set(wanted: boolean): void {
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    for (const { reactor } of this.#all) {
      if (wanted) reactor.follow();
      else reactor.rest();
    }
  }

  joined(core: LeaseCore | undefined, former: LeaseCore | undefined): void {
    if (!this.#wanted) return;
    core?.reactor.follow();
    former?.reactor.rest();
  }
}

export class LiveCores implements JoiningCores {
  /** Those that there are now. */
  readonly all: LeaseCore[];
  readonly #healing: { readonly open: boolean; onOver(listener: () => void): void } | undefined;
  readonly #listeners = new Set<(core?: LeaseCore, former?: LeaseCore) => void>();

  constructor(
    all: LeaseCore[],
    healing?: { readonly open: boolean; onOver(listener: () => void): void },
  ) {
    this.all = all;
    this.#healing = healing;
    healing?.onOver(() => this.#tell());
  }

  get open(): boolean {
    return this.#healing?.open ?? false;
  }

  onJoined(listener: (core?: LeaseCore, former?: LeaseCore) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  joined(core: LeaseCore | undefined, former: LeaseCore | undefined): void {
    const come = core ? [core] : [];
    const at = former ? this.all.indexOf(former) : -1;
    if (at < 0) this.all.push(...come);
    else this.all.splice(at, 1, ...come);
    this.#tell(core, former);
  }

  #tell(core?: LeaseCore, former?: LeaseCore): void {
    for (const listener of [...this.#listeners]) listener(core, former);
  }
}

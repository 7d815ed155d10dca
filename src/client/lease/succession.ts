/**
 * Parts that others have taken the places of. Their memory stays as long as the program has buffers there, which the others take over as calls
 * use them; what they have cost still counts.
 */
import type { Handle, Joining, Lent } from "../functions/members.ts";
import type { LeaseBuffer } from "../memory/lease-memory.ts";
import type { SubmitOptions } from "../options/call-options.ts";
import type { Healing } from "./healing.ts";
import type { LeaseUsage } from "./lease-usage.ts";
import { sumOf } from "./lease-usage.ts";
import type { PartLease } from "./part.ts";

type Joined<Module> = (
  part: PartLease<Module> | undefined,
  former: PartLease<Module> | undefined,
) => void;

export class Succession<Module> {
  /** Those whose memory is still there. */
  readonly former = new Set<PartLease<Module>>();
  readonly #successor: NonNullable<PartLease<Module>["successor"]>;
  readonly #joined = new Set<Joined<Module>>();
  #cost: Promise<LeaseUsage | undefined> = Promise.resolve(undefined);
  #unknown = 0;

  /** `successor` says where calls of their own handles go. */
  constructor(successor: NonNullable<PartLease<Module>["successor"]>) {
    this.#successor = successor;
  }

  onJoined(listener: Joined<Module>): () => void {
    this.#joined.add(listener);
    return () => this.#joined.delete(listener);
  }

  /** `part`, if any, is one of `all` now, in the place of a `former` one, if any. */
  follows(
    part: PartLease<Module> | undefined,
    former: PartLease<Module> | undefined,
    all: readonly PartLease<Module>[],
  ): void {
    for (const { core } of this.former) part?.core.memory.inherit(core.memory);
    if (former) {
      for (const { core } of all) core.memory.inherit(former.core.memory);
      former.successor = this.#successor;
      this.former.add(former);
      this.#settle(former);
    }
    for (const listener of [...this.#joined]) listener(part, former);
    for (const one of this.former)
      if (one.state === "lost" && !one.core.memory.isUsed) {
        this.former.delete(one);
        void one.release().catch(() => {});
      }
  }

  /** The part where a buffer lies, of those that are gone. */
  homeOf(buffer: LeaseBuffer): PartLease<Module> | undefined {
    return this.former.values().find(({ core }) => core.memory.has(buffer));
  }

  /** What parts have cost, together with former ones; `whole`: they are all that there are now. */
  async withFormer(parts: readonly LeaseUsage[], whole: boolean): Promise<LeaseUsage> {
    const former = await this.#cost;
    const sum = sumOf(former ? [...parts, former] : parts);
    return whole && this.#unknown === 0 ? sum : { ...sum, state: "last-known" };
  }

  /** Notes what it has cost, then gives back what the node may still hold of it. One that is to be taken back ends its calls before. */
  #settle(former: PartLease<Module>): void {
    const settle = async (): Promise<void> => {
      const before = this.#cost;
      const own = former.usage().catch(() => undefined);
      this.#cost = own.then(async (cost) => {
        const all = [await before, cost].filter((one) => one !== undefined);
        return all.length > 0 ? sumOf(all) : undefined;
      });
      if ((await own) === undefined) this.#unknown++;
      former.forgo();
    };
    if (former.state === "lost") void settle();
    else former.on("lost", () => void settle());
  }
}

/** The handle of a function, as parts come and go. */
export class LiveHandles<Module> implements Joining {
  readonly #healing: Healing<Module>;
  readonly #succession: Succession<Module>;
  readonly #lend: (part: PartLease<Module>) => Lent;

  constructor(
    healing: Healing<Module>,
    succession: Succession<Module>,
    lend: (part: PartLease<Module>) => Lent,
  ) {
    this.#healing = healing;
    this.#succession = succession;
    this.#lend = lend;
  }

  get open(): boolean {
    return this.#healing.open;
  }

  get pending(): boolean {
    return this.#healing.pending;
  }

  healed(options: SubmitOptions | undefined): Promise<SubmitOptions | undefined> {
    return this.#healing.healed(options);
  }

  onJoined(listener: (lent: Lent<Handle> | undefined, instead: unknown) => void): () => void {
    return this.#succession.onJoined((part, former) => listener(part && this.#lend(part), former));
  }
}

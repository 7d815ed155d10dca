/** A lease as its client holds it: the real {@link LeaseTerm}, and a door to its host instead of memory. */
import { LeaseTerm } from "../../src/client/lease/term.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { HostDoor, ToNode } from "./messages.ts";

export interface LeaseGrant {
  /** The node's name, and its number of the lease. */
  node: string;
  lease: number;
  workers: number;
  ttlMs: number;
  expiresInMs: number;
  host: HostDoor;
}

/** How its client treats it. */
export interface Treatment {
  renews: boolean;
  send(message: ToNode): void;
  /** The client does not hold it any more. */
  over(lease: HeldLease): void;
}

export class HeldLease {
  readonly name: string;
  readonly workers: number;
  readonly host: HostDoor;
  readonly term: LeaseTerm;
  readonly #lease: number;
  readonly #treatment: Treatment;
  readonly #acknowledged = Promise.withResolvers<void>();
  #over = false;

  constructor(grant: LeaseGrant, treatment: Treatment, clock: Clock) {
    this.name = `${grant.node}/${grant.lease}`;
    this.workers = grant.workers;
    this.host = grant.host;
    this.#lease = grant.lease;
    this.#treatment = treatment;
    const node = {
      renew: async (lease: number, ttlMs: number | null) => {
        if (treatment.renews) treatment.send({ t: "renew", lease, ttlMs });
      },
      usage: () => Promise.reject(new Error("the simulation does not ask for it")),
    };
    this.term = new LeaseTerm(node, grant.lease, grant.ttlMs, grant.expiresInMs, clock);
  }

  get over(): boolean {
    return this.#over;
  }

  on: LeaseTerm["on"] = (type, listener) => this.term.on(type, listener);

  /** Resolves when the node has taken it back, or is out of reach. */
  release(): Promise<void> {
    if (!this.#over) {
      this.#end();
      this.term.end({ type: "released" });
      this.#treatment.send({ t: "release", lease: this.#lease });
    }
    return this.#acknowledged.promise;
  }

  /** The node, or the way to it, is gone, or it says so. */
  lose(message: string): void {
    this.released();
    if (this.#over) return;
    this.#end();
    this.term.end({ type: "lost", message });
  }

  /** The node has taken it back. */
  released(): void {
    this.#acknowledged.resolve();
  }

  #end(): void {
    this.#over = true;
    this.#treatment.over(this);
  }
}

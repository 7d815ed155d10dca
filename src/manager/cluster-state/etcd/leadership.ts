/**
 * Whether this manager leads: pure, told what etcd has answered and at what time by this machine's clock. It leads for as long as it knows
 * that its lease in etcd goes on, less a margin: it has stopped before another one can begin, also where etcd does not answer.
 */

/** Of the lease: the leader stops so much sooner, for two clocks that do not run alike. */
const MARGIN = 0.1;

/** Who leads, as etcd has it. */
export interface Leader {
  address: string;
  http: string | null;
}

interface Held {
  lease: string;
  untilMs: number;
}

export class Leadership {
  #held: Held | undefined;
  /** The revision at which it won; undefined while it has not. */
  #term: number | undefined;
  #ready = false;
  #other: Leader | undefined;

  /** It holds a lease, asked for at `askedAtMs`: it counts from then at the latest. */
  granted(lease: string, ttlMs: number, askedAtMs: number): void {
    this.#held = { lease, untilMs: untilOf(ttlMs, askedAtMs) };
    this.#term = undefined;
    this.#ready = false;
  }

  /** Of the candidates it is the one whose lease the leader's key has. */
  won(term: number): void {
    if (!this.#held) return;
    this.#term = term;
    this.#other = undefined;
  }

  /** It has what the one before it has kept, and can act. */
  caughtUp(): void {
    this.#ready = this.#term !== undefined;
  }

  /** The lease goes on for `ttlMs`, or is over when that is 0. */
  renewed(lease: string, ttlMs: number, askedAtMs: number): void {
    if (this.#held?.lease !== lease) return;
    if (ttlMs <= 0) return this.lost();
    this.#held.untilMs = Math.max(this.#held.untilMs, untilOf(ttlMs, askedAtMs));
  }

  /** It does not lead, whatever it held. */
  lost(): void {
    this.#held = undefined;
    this.#term = undefined;
    this.#ready = false;
  }

  /** Another one leads, or none that etcd knows. */
  saw(other: Leader | undefined): void {
    this.#other = other;
  }

  /** Time passes: a lease that nothing has renewed is over. */
  tick(nowMs: number): void {
    if (this.#held && nowMs >= this.#held.untilMs) this.lost();
  }

  get other(): Leader | undefined {
    return this.#other;
  }

  /** Its lease, while it may go on. */
  leaseAt(nowMs: number): string | undefined {
    return this.#held && nowMs < this.#held.untilMs ? this.#held.lease : undefined;
  }

  /** In which term it may write to what is shared; undefined when it may not. */
  termAt(nowMs: number): number | undefined {
    return this.leaseAt(nowMs) === undefined ? undefined : this.#term;
  }

  leadsAt(nowMs: number): boolean {
    return this.#ready && this.termAt(nowMs) !== undefined;
  }
}

const untilOf = (ttlMs: number, askedAtMs: number): number => askedAtMs + ttlMs * (1 - MARGIN);

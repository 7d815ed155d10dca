/**
 * CPU time of what a host has started. The kernel adds that of a process to its parent's when the parent waits for it; that of a process whose
 * parent ignores SIGCHLD is lost with it. So the agent keeps what it has seen last of those that are gone.
 */
import { type DescendantTime, descendantTimes } from "../../../ffi/children.ts";

/** By so much the kernel's rounding may make a parent's sum lag behind: two sums, of a hundredth of a second each. */
const ROUNDED_NS = 20e6;

export class Descendants {
  readonly #look: () => readonly DescendantTime[];
  #seen = new Map<string, DescendantTime>();
  /**
   * What the last look missed, and of whom. The next one may still find it: in the sum of a parent that had not been read again, or of a process
   * that was not listed while its parent changed.
   */
  #missed = { ns: 0, of: new Map<string, number>() };
  #lostNs = 0;
  #startedNs = 0;

  constructor(pid: number, look = () => descendantTimes(pid)) {
    this.#look = look;
  }

  /** Of those that are gone, what no parent has in its sum. */
  get lostNs(): number {
    return this.#lostNs;
  }

  /** Of all, those that are gone among them. Never falls. */
  get startedNs(): number {
    return this.#startedNs;
  }

  /** Looks again. Returns what the kernel has now of those that live or were waited for; undefined once the host is gone, whose end tells the rest. */
  readNs(): number | undefined {
    const now = new Map(this.#look().map((one) => [one.id, one]));
    if (now.size === 0) return undefined;
    let [sumNs, waitedNs] = [0, 0];
    for (const { id, ownNs, waitedNs: ns } of now.values()) {
      sumNs += ownNs + ns;
      // What one that was not there before has waited for was not there either.
      const grownNs = ns - (this.#seen.get(id)?.waitedNs ?? ns);
      if (grownNs > 0) waitedNs += grownNs + ROUNDED_NS;
    }
    const gone = new Map<string, number>();
    for (const [id, one] of this.#seen) if (!now.has(id)) gone.set(id, one.ownNs + one.waitedNs);
    const goneNs = sumOf(gone.values());
    const backNs = sumOf([...this.#missed.of].map(([id, ns]) => (now.has(id) ? ns : 0)));
    this.#lostNs += Math.max(0, this.#missed.ns - backNs - Math.max(0, waitedNs - goneNs));
    this.#missed = { ns: Math.max(0, goneNs - waitedNs), of: gone };
    this.#seen = now;
    this.#startedNs = Math.max(this.#startedNs, sumNs + this.#lostNs);
    return sumNs;
  }
}

const sumOf = (all: Iterable<number>): number => [...all].reduce((sum, ns) => sum + ns, 0);

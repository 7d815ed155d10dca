/**
 * Looks at a host at rest. That nothing of a function's runs there any more is the host's own word: what did would compute, and take memory,
 * on no bill.
 */
import { descendantsTimeNs } from "../../../ffi/children.ts";
import { cpuTimeNs } from "../../../ffi/system.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { Held } from "./limiter.ts";

const LOOK_INTERVAL_MS = 500;
/** The engine compiles and collects garbage for a while after the last call, */
const REST_CPU_NS = 250e6;
/** and wakes now and then. */
const REST_CPU_SHARE = 0.02;

export class RestWatch {
  readonly #timer: Timer;

  /** `ended` hears once, in words, why the host must not be kept. */
  constructor(
    { pid, held }: { readonly pid: number; readonly held?: Held },
    clock: Clock,
    ended: (why: string) => void,
  ) {
    const usedNs = (): number => (cpuTimeNs(pid) ?? 0) + descendantsTimeNs(pid);
    const [beforeNs, sinceNs] = [usedNs(), clock.nowNs()];
    this.#timer = clock.every(LOOK_INTERVAL_MS, () => {
      const restsNs = clock.nowNs() - sinceNs;
      const computedNs = usedNs() - beforeNs;
      const excess = held?.look().excess;
      const computes = computedNs > REST_CPU_NS + REST_CPU_SHARE * restsNs;
      if (!excess && !computes) return;
      this.stop();
      ended(
        excess
          ? `has more ${excess.what} than its last lease might have`
          : `has computed for ${Math.round(computedNs / 1e6)} ms`,
      );
    });
    this.#timer.unref();
  }

  stop(): void {
    this.#timer.clear();
  }
}

/** Which guards a node's rooms hold: those of its driver, and what the node itself does for all drivers. */
import { whyUncounted } from "../limits/sockets.ts";
import { type Freedoms, GUARDS, type Guard, type SandboxDriver } from "./driver.ts";

export interface Guarding {
  /** By which layer each is held. */
  held: ReadonlyMap<Guard, string>;
  missing: readonly Guard[];
  /** What of this machine would let it hold what is missing, as far as that is known. */
  remedies: readonly string[];
}

/** On this machine, where leases may have such freedoms. `lackOf` says why sockets cannot be counted; it asks the kernel for all that there are. */
export function guardingOf(
  { guards, wouldHold }: Pick<SandboxDriver, "guards" | "wouldHold">,
  freedoms: Freedoms,
  lackOf = whyUncounted,
): Guarding {
  const held = new Map(guards(freedoms));
  const would: Partial<Record<Guard, string>> = { ...wouldHold };
  // Without these a function gets no sockets but its host's own.
  const uncounted = freedoms.network || freedoms.processes ? lackOf() : undefined;
  if (uncounted) {
    held.delete("memory");
    would.memory = `the kernel's modules (${uncounted.fix})`;
  }
  const missing = GUARDS.filter((guard) => !held.has(guard));
  return { held, missing, remedies: [...new Set(missing.flatMap((guard) => would[guard] ?? []))] };
}

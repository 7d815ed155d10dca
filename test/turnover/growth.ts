/** What node and client hold more of after many leases than after some. */
import type { TurnoverLook } from "./turnover.ts";

/** What compilers and collectors take when they like. */
const MEMORY_BYTES = 5 * 2 ** 20;
/** Of the looks, before memory counts: what loads and first runs code. */
const WARM_UP = 0.2;

/** In words; none where nothing has. */
export function grown(looks: readonly TurnoverLook[]): string[] {
  const [first, last] = [looks[0]!, looks.at(-1)!];
  const found: string[] = [];
  for (const side of ["node", "client"] as const) {
    for (const [name, before] of Object.entries(first[side])) {
      const after = last[side][name as keyof (typeof last)["node"]];
      // Threads of a pool, and descriptors that were open in the first look alone, may go.
      if (name !== "threads" && after > before)
        found.push(`${side}: ${name} from ${before} to ${after}`);
    }
    const warm = looks.slice(Math.floor(looks.length * WARM_UP));
    const bytes = warm.map((look) => look[`${side}Bytes`]);
    const half = Math.ceil(bytes.length / 2);
    // Least of each half: a collection is due when it likes.
    const [early, late] = [Math.min(...bytes.slice(0, half)), Math.min(...bytes.slice(half))];
    if (late - early > MEMORY_BYTES) found.push(`${side}: memory from ${early} to ${late} bytes`);
  }
  return found;
}

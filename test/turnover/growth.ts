/** What node and client hold more of after many leases than after some. */
import type { TurnoverLook } from "./turnover.ts";

/** What compilers and collectors take when they like. */
const MEMORY_BYTES = 5 * 2 ** 20;
/** Of the looks, before memory counts: what loads and first runs code. */
const WARM_UP = 0.2;

/** Of descriptors and the like, in words; none where nothing has. Threads of a pool come and go. */
export function grown(looks: readonly TurnoverLook[]): string[] {
  const [first, last] = [looks[0]!, looks.at(-1)!];
  return (["node", "client"] as const).flatMap((side) =>
    Object.entries(first[side]).flatMap(([name, before]) => {
      const after = last[side][name as keyof TurnoverLook["node"]];
      return name !== "threads" && after > before
        ? [`${side}: ${name} from ${before} to ${after}`]
        : [];
    }),
  );
}

/** Of memory, by the least of each half of the looks after the first, since a collection is due when it likes. */
export function grownMemory(looks: readonly TurnoverLook[]): string[] {
  const warm = looks.slice(Math.floor(looks.length * WARM_UP));
  const half = Math.ceil(warm.length / 2);
  return (["nodeBytes", "clientBytes"] as const).flatMap((side) => {
    const bytes = warm.map((look) => look[side]);
    const [early, late] = [Math.min(...bytes.slice(0, half)), Math.min(...bytes.slice(half))];
    return late - early > MEMORY_BYTES ? [`${side} from ${early} to ${late}`] : [];
  });
}

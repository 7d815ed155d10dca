/** What node and client hold more of after many leases than after some. */
import type { TurnoverLook } from "./turnover.ts";

/** What compilers and collectors take when they like. */
const MEMORY_BYTES = 5 * 2 ** 20;
/** Of the looks, before memory counts: what loads and first runs code. */
const WARM_UP = 0.2;

/** Of descriptors and the like, in words: what is never as few again as it was. Threads of a pool come and go. */
export function grown(looks: readonly TurnoverLook[]): string[] {
  const half = Math.ceil(looks.length / 2);
  return (["node", "client"] as const).flatMap((side) =>
    Object.keys(looks[0]![side]).flatMap((name) => {
      const counts = looks.map((look) => look[side][name as keyof TurnoverLook["node"]]);
      const [most, least] = [Math.max(...counts.slice(0, half)), Math.min(...counts.slice(half))];
      return name !== "threads" && least > most ? [`${side}: ${name} ${counts.join(", ")}`] : [];
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

/** The work: how long the Collatz chains of a range of numbers are. */
import { Type, defineFunction } from "rfaas/function";

/** The number below `end`, and not below `start`, whose chain to 1 has the most steps; of several, the smallest. */
export const longestChain = defineFunction(
  {
    input: Type.Object({ start: Type.Integer({ minimum: 1 }), end: Type.Integer({ minimum: 2 }) }),
    output: Type.Object({ number: Type.Integer(), steps: Type.Integer() }),
  },
  ({ start, end }) => {
    const longest = { number: start, steps: 0 };
    for (let number = start; number < end; number++) {
      const steps = stepsToOne(number);
      if (steps > longest.steps) Object.assign(longest, { number, steps });
    }
    return longest;
  },
);

function stepsToOne(number: number): number {
  let steps = 0;
  for (let n = number; n !== 1; steps++) n = n % 2 === 0 ? n / 2 : 3 * n + 1;
  return steps;
}

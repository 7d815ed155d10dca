/** A schema of another TypeBox than the one that functions have. */
import { defineFunction } from "rfaas/function";
import Type from "typebox";

export const t1 = defineFunction(
  // Types refuse it too: see types/definitions.ts.
  { input: Type.Object({ a: Type.Number() }) as never, output: Type.Number() as never },
  ({ a }: { a: number }) => a as never,
);

/** Calls whose effects are counted by their functions, and what their ends say of them. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Lease } from "../../src/index.ts";
import { FUNCTIONS } from "./executable.ts";

export type Effects = typeof import("../functions/effects.ts");
export const EFFECTS = join(FUNCTIONS, "effects.ts");

export interface Outcomes {
  /** Numbers of calls, by what their ends say. */
  ran: number[];
  mayHaveRun: number[];
  didNotRun: number[];
  /** What does not say either. */
  others: unknown[];
  errors: Error[];
}

/** Lets the functions of the lease write to `file`. */
export async function tellFile(lease: Lease<Effects>, file: string): Promise<void> {
  const bytes = new TextEncoder().encode(file);
  for (let worker = 0; worker < lease.workers; worker++) {
    const input = lease.input(Uint8Array, bytes.length, { worker });
    input.set(bytes);
    await lease.submit("tell", input, lease.output(Uint8Array, 1, { worker }), { worker });
  }
}

/** Submits calls, numbered from 0, of so many milliseconds each; resolves when all have ended. */
export async function callAll(
  lease: Lease<Effects>,
  name: "effect" | "later",
  count: number,
  ms: number,
): Promise<Outcomes> {
  const outcomes: Outcomes = { ran: [], mayHaveRun: [], didNotRun: [], others: [], errors: [] };
  const output = lease.output(Uint8Array, 1);
  await Promise.all(
    Array.from({ length: count }, async (_, number) => {
      const input = lease.input(Uint32Array, 2);
      input.set([number, ms]);
      try {
        await lease.submit(name, input, output);
        outcomes.ran.push(number);
      } catch (error) {
        const { mayHaveRun } = error as { mayHaveRun?: boolean };
        outcomes.errors.push(error as Error);
        if (mayHaveRun === true) outcomes.mayHaveRun.push(number);
        else if (mayHaveRun === false) outcomes.didNotRun.push(number);
        else outcomes.others.push(error);
      }
    }),
  );
  return outcomes;
}

/** Which calls have had an effect, each as often as it has. */
export function effectsIn(file: string): number[] {
  try {
    return readFileSync(file, "utf8").trim().split("\n").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** What all roles of a simulation share. */
import type { Bug } from "./bugs.ts";
import type { Network } from "./network.ts";
import type { QuotaWitness } from "./quotas/witness.ts";
import type { Random } from "./random.ts";
import type { Schedule } from "./schedule.ts";
import type { Trace } from "./trace.ts";
import type { Witness } from "./witness.ts";

export interface World {
  readonly random: Random;
  readonly schedule: Schedule;
  readonly trace: Trace;
  readonly network: Network;
  readonly witness: Witness;
  /** What users hold in the whole cluster. */
  readonly quotas: QuotaWitness;
  /** Built in on purpose, to see that it is found. */
  readonly bug: Bug | undefined;
  /** Takes note of an error in what runs by itself, between two steps. */
  failed(error: unknown): void;
}

export const US = 1e3;
export const MS = 1e6;
export const S = 1e9;

/** Something that must never be is. */
export class Violation extends Error {
  override name = "Violation";
}

export function violated(what: string): never {
  throw new Violation(what);
}

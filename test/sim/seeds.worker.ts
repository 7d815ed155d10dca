/** Runs a few seeds on a thread of its own, and says how they went. */
import type { Size } from "./options.ts";
import { SimulationFailure, simulate } from "./simulation.ts";

export interface Portion extends Size {
  from: number;
  seeds: number;
}

export interface PortionResult {
  seeds: number;
  steps: number;
  leases: number;
  failures: { seed: number; message: string }[];
}

declare const self: Worker;

self.onmessage = ({ data }: MessageEvent<Portion>) => {
  const result: PortionResult = { seeds: data.seeds, steps: 0, leases: 0, failures: [] };
  for (let seed = data.from; seed < data.from + data.seeds; seed++) {
    try {
      const { steps, leases } = simulate({ ...data, seed });
      result.steps += steps;
      result.leases += leases;
    } catch (error) {
      if (!(error instanceof SimulationFailure)) throw error;
      result.failures.push({ seed, message: error.message });
    }
  }
  self.postMessage(result);
};

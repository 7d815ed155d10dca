/** The floor beside each scenario, and the yardstick of others, as the fabric has them. */
import type { Floor, Yardstick } from "../src/fabric/floor.ts";
import {
  type FabricName,
  type FabricOptions,
  fabricNamed,
  optionsOf,
} from "../src/fabric/registry.ts";

/** The floor of a fabric on this machine. Rejects with `FabricUnavailable` where this machine lacks the fabric. */
export async function floorOf(name: FabricName, asked: FabricOptions): Promise<Floor> {
  const fabric = fabricNamed(name)!;
  return await fabric.floor(optionsOf(fabric, asked));
}

/** Undefined where others have none. Rejects with `FabricUnavailable`. */
export async function yardstickOf(
  name: FabricName,
  asked: FabricOptions,
): Promise<Yardstick | undefined> {
  const fabric = fabricNamed(name)!;
  return await fabric.yardstick?.open(optionsOf(fabric, asked));
}

/** The sandbox drivers, by name: the one place that lists them. */
import type { SandboxDriver } from "./driver.ts";
import { apptainer } from "./apptainer/driver.ts";
import { bwrap } from "./bwrap/driver.ts";
import { docker } from "./docker/driver.ts";
import { none } from "./none/driver.ts";
import { podman } from "./podman/driver.ts";
import { byProcess } from "./process/driver.ts";
import { sarus } from "./sarus/driver.ts";

export const DRIVERS = [
  byProcess,
  bwrap,
  podman,
  docker,
  apptainer,
  sarus,
  none,
] as const satisfies readonly SandboxDriver[];

export type SandboxName = (typeof DRIVERS)[number]["name"];

/** For a node that is told no other. */
export const DEFAULT_SANDBOX: SandboxName = "process";

/** The variable that names a driver where no option does. */
export const SANDBOX_VARIABLE = "RFAAS_SANDBOX";

export const SANDBOX_NAMES: readonly SandboxName[] = DRIVERS.map(({ name }) => name);

export function driverNamed(name: string): SandboxDriver | undefined {
  return DRIVERS.find((driver) => driver.name === name);
}

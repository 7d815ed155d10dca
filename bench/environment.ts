/** The environment that a figure depends on: printed with every benchmark. */
import { arch, cpus, release } from "node:os";
import { usableCpus } from "../ffi/system.ts";
import { VERSION } from "../src/base/version.ts";

export { cpuTimeNs } from "../ffi/system.ts";

/** Asked before the benchmark pins itself. */
const USABLE_CPUS = usableCpus().length;

export interface Environment {
  rfaas: string;
  bun: string;
  kernel: string;
  arch: string;
  cpu: string;
  usable_cpus: number;
  clock: string;
  command: string;
}

export function environment(): Environment {
  return {
    rfaas: VERSION,
    bun: Bun.version,
    kernel: release(),
    arch: arch(),
    cpu: cpus()[0]?.model ?? "unknown",
    usable_cpus: USABLE_CPUS,
    clock: "cycle counter",
    command: `rfaas ${process.argv.slice(2).join(" ")}`,
  };
}

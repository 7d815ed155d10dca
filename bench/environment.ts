/** What a figure depends on besides the code: printed with every benchmark. */
import { readFileSync, readdirSync } from "node:fs";
import { arch, cpus, release } from "node:os";
import { usableCpus } from "../ffi/system.ts";
import { VERSION } from "../src/version.ts";

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

/** Nanoseconds of CPU that all threads of a process have used. */
export function cpuTimeNs(pid: number): number {
  let total = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    const spent = readFileSync(`/proc/${pid}/task/${task}/schedstat`, "utf8").split(" ")[0];
    total += Number(spent);
  }
  return total;
}

/** Whether two processes are on one machine and in one network namespace, and so can share memory. */
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";

/** Between the name of a machine and that of a network namespace on it. */
const NAMESPACE = " net:";

let known: string | undefined;

/**
 * Names this machine since its last boot, and this process's network namespace on it: the sockets that hand memory over reach no
 * other, so two containers on one kernel get different names unless they share their network. Where the kernel's own name is hidden,
 * as from a service with `ProcSubset=pid`, the machine's host name must do.
 */
export function machineId(): string {
  return (known ??= `${bootId() ?? `host ${hostname()}`}${networkNamespace()}`);
}

/** How far apart two processes are, by their {@link machineId}. */
export function distance(one: string, other: string): "none" | "network" | "machine" {
  if (one === other) return "none";
  const [machine] = one.split(NAMESPACE);
  return machine !== "" && machine === other.split(NAMESPACE)[0] ? "network" : "machine";
}

function bootId(): string | undefined {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return undefined;
  }
}

function networkNamespace(): string {
  try {
    return ` ${readlinkSync("/proc/self/ns/net")}`;
  } catch {
    return "";
  }
}

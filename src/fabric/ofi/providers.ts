/** The providers of libfabric that leases can use, best first. `docs/guides/libfabric.md` says which were run, and from where the rest is known. */
import { existsSync, readdirSync, readlinkSync } from "node:fs";
import { basename, join } from "node:path";
import type { OfiDevice } from "../../../ffi/ofi/ofi.ts";

export interface Provider {
  /** As libfabric calls it. */
  readonly name: string;
  /** What a machine must have, such as `a Slingshot network card`; undefined where it needs no device of its own. */
  readonly needs?: string;
  /** What it does that no room lets a host do: a verb and its object. */
  readonly outsideRooms?: string;
  /** What its devices do without the other side's processor. */
  readonly oneSided?: OfiDevice["oneSided"];
  /** Of this machine, without a word to libfabric: opening it takes time that other machines need not spend. */
  readonly isHere?: () => boolean;
}

const entries = (folder: string): string[] => (existsSync(folder) ? readdirSync(folder) : []);

const DEVICES = "/sys/class/infiniband";
/** Whether a device of this machine has one of these drivers. */
const hasDriver =
  (...drivers: string[]) =>
  (): boolean =>
    entries(DEVICES).some((device) => drivers.includes(driverOf(join(DEVICES, device))));

function driverOf(device: string): string {
  try {
    return basename(readlinkSync(join(device, "device", "driver")));
  } catch {
    return "";
  }
}

/** Faster than any socket: taken before those. */
export const HARDWARE = [
  {
    name: "cxi",
    needs: "a Slingshot network card",
    oneSided: "all",
    isHere: () => ["/sys/class/cxi", "/sys/class/cxi_user"].some((at) => entries(at).length > 0),
  },
  { name: "efa", needs: "an Elastic Fabric Adapter", isHere: hasDriver("efa") },
  { name: "psm3", needs: "an Ethernet card of Intel with RDMA", isHere: hasDriver("irdma") },
  { name: "opx", needs: "an Omni-Path network card", isHere: hasDriver("hfi1") },
] as const satisfies readonly Provider[];

/** Taken only where one is named: rfaas reaches by itself what these reach. */
export const OTHERS = [
  { name: "verbs", needs: "an RDMA device", oneSided: "transfers" },
  { name: "tcp" },
  { name: "shm", outsideRooms: "makes files in /dev/shm" },
  { name: "udp" },
  { name: "sockets" },
] as const satisfies readonly Provider[];

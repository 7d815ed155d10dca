/** What `rfaas doctor` says of RDMA: a finding for the fabric, and one for each port of each device. */
import { probeDevice, verbsProblem } from "../../../ffi/verbs/verbs.ts";
import { type Gid, type Port, type RdmaDevice, addressesOf, rdmaDevices } from "./devices.ts";
import { selfTest } from "./self-test.ts";
import { formatBytes } from "../../base/units.ts";
import type { Finding } from "../../base/finding.ts";

export async function examineVerbs(): Promise<Finding[]> {
  const devices = rdmaDevices();
  const problem = verbsProblem();
  const findings: Finding[] = [fabric(devices, problem)];
  for (const device of devices)
    for (const port of device.ports) findings.push(await examinePort(device, port, problem));
  return findings;
}

function fabric(devices: readonly RdmaDevice[], problem: string | null): Finding {
  const name = "fabric verbs";
  const [what, fix] = problem?.split("; ") ?? [];
  if (what !== undefined)
    return { name, state: "off", found: what, ...(fix ? { fix: toCommand(fix) } : {}) };
  try {
    const addresses = addressesOf(devices, {});
    return { name, state: "ok", found: `serves at ${addresses.join(", ")}` };
  } catch (error) {
    return { name, state: "off", found: (error as Error).message };
  }
}

function toCommand(advice: string): string {
  const packages = /^install ((?:lib)?\S+(?: and \S+)*)$/.exec(advice)?.[1];
  return packages ? `apt-get install ${packages.replaceAll(" and ", " ")}` : advice;
}

async function examinePort(
  device: RdmaDevice,
  port: Port,
  problem: string | null,
): Promise<Finding> {
  const name = `${device.name}/${port.number}`;
  const link = `${port.state} (${port.physicalState}), ${port.linkLayer}, ${port.rate}`;
  const gids = port.gids.map(describeGid).join("; ") || "no GIDs";
  if (port.state !== "ACTIVE")
    return {
      name,
      state: "off",
      found: `${link}; ${gids}`,
      fix: `ip link set ${device.netdevs[0] ?? "DEVICE"} up`,
    };
  if (problem) return { name, state: "off", found: `${link}; ${gids}` };
  try {
    const { inlineBytes, longestMessageBytes, atomics } = probeDevice(device.name, port.number);
    const limits = `inline ${inlineBytes} B, messages to ${formatBytes(longestMessageBytes)}, ${atomics ? "atomics" : "no atomics"}`;
    const [address] = addressesOf([device], { device: device.name, ibPort: port.number });
    const tested = `self test at ${address}: ${((await selfTest(address!)) / 1000).toFixed(1)} us`;
    return { name, state: "ok", found: `${link}; ${gids}; ${limits}; ${tested}` };
  } catch (error) {
    return { name, state: "slow", found: `${link}; ${gids}; ${(error as Error).message}` };
  }
}

function describeGid({ index, gid, type, netdev, address }: Gid): string {
  return `GID ${index} ${address ?? gid} (${type}${netdev ? `, ${netdev}` : ""})`;
}
